#!/bin/bash
# Goal: merging and deleting under a restore that is under way: a restore that meets a 404 plans
# again, and what it gives passes integrity_check and equals the source. Steps: a replica of many
# segments whose catalogue says that they are old; a restore is held by the proxy in the middle of
# its requests; the shipper makes a new snapshot, merges and deletes; the restore goes on.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
use_proxy
direct="s3://$ZL_TEST_BUCKET/$s3_root?endpoint=$ZL_TEST_ENDPOINT&region=us-east-1"
keep() { ZL_STORE=$direct start_ship -v --retain 24h --fine 24h --snapshot-interval 1s "$@"; }
objects() { store_list "db/app/$1/" | wc -l; }
fewer_than() { [ "$(objects wal)" -lt "$1" ]; }

# A day is a long time: what is in the catalogue was stored five days ago.
make_old() {
    sqlite3 "$DB.zl/state.db" 'UPDATE catalogue SET time = time - 432000000'
}
# build N: that many segments behind one snapshot, all old. The cache directory is one for the
# store without the proxy.
build() {
    rm -rf "$DB" "$DB"-* "$DB.zl" "$T"/log*
    sqlite3 "$DB" 'PRAGMA journal_mode = wal' >"$T/.mode"
    ZL_STORE=$direct start_ship --sync-interval 0s --snapshot-interval 1h --retain off
    within 10 is_streaming
    start_writer --rate 60
    within 30 has_segments "$1"
    stop_writer
    drain_ship
    make_old
}
has_segments() { [ "$(ship_status .durable_sequence)" -ge "$1" ]; }
# held_restore RULE OPTION...: is at the request of RULE
held_restore() {
    local rule=$1
    shift
    clear_log
    rules "[$rule]"
    rm -f "$T"/h.db*
    zl-restore -vv --check full "$@" -o "$T/h.db" app 2>"$T/h.err" &
    restorer=$!
    test_pids+=("$restorer")
    within 10 held
}
go_on() { # expected exit code
    control PUT /release >/dev/null
    end_of "$restorer"
    [ "$code" = "$1" ] || fail "the restore ended with $code: $(cat "$T/h.err")"
}
same_as_source() {
    walwriter check "$DB" "$T/h.db" --log "$T/log" >"$T/check.json" ||
        fail "$1: $(cat "$T/check.json")"
}

say "the newest state: its segments are merged and deleted while it fetches them"
build 150
before=$(objects wal)
[ "$before" -ge 150 ] || fail "only $before segments"
moment=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
held_restore '{"action": "hold", "method": "GET", "path": "/wal/0+70[.]", "when": "before"}'
# A newer snapshot, or the segments behind the last one would stay as they are.
walwriter write "$DB" --rate 50 --seconds 0.2 --log "$T/log" >/dev/null
keep
within 20 fewer_than 60
drain_ship
[ "$(objects merged)" -ge 1 ] || fail "nothing was merged"
go_on 0
[ "$(log_count '.status == 404')" -ge 1 ] || fail "it met no 404: nothing was tested"
expect_grep 'planning again' "$T/h.err"
same_as_source "after a 404"

say "a state in the middle: as it was then, from merged segments or the ones before"
within 5 test -e "$T/h.db"
rm -f "$T"/h.db*
zl-restore --check full --at "$moment" -o "$T/h.db" app
walwriter check - "$T/h.db" --log "$T/log" --until "$moment" --slack 360 >"$T/check.json" ||
    fail "a moment: $(cat "$T/check.json")"

say "the snapshot itself goes while it is fetched"
rounds() { # N: that many times five days pass, with commits, a snapshot, merging and deleting
    local i
    for ((i = 0; i < $1; i++)); do
        make_old
        walwriter write "$DB" --rate 50 --seconds 0.2 --log "$T/log" >/dev/null
        keep
        sleep 1.5
        drain_ship
    done
}
first=$(store_list db/app/snapshots/ | tail -1 | sed 's/.* //')
held_restore "{\"action\": \"hold\", \"method\": \"GET\", \"path\": \"/${first##*/}\", \"when\": \"before\", \"skip\": 1}"
rounds 2
! store_list db/app/snapshots/ | grep -q "${first##*/}" || fail "$first is still there"
go_on 0
[ "$(log_count '.status == 404')" -ge 1 ] || fail "it met no 404: nothing was tested"
same_as_source "after its snapshot went"

say "a slow restore, with the keeper at work all the time"
cp "$T/log" "$T/log.before"
rules '[{"action": "throttle", "bps": 15000, "shared": true, "count": -1}]'
rm -f "$T"/h.db*
zl-restore --check full -o "$T/h.db" app 2>"$T/h.err" &
restorer=$!
test_pids+=("$restorer")
rounds 3
end_of "$restorer"
[ "$code" = 0 ] || fail "the slow restore ended with $code: $(cat "$T/h.err")"
# The newest state when it planned: all that was acknowledged before, nothing half.
walwriter check - "$T/h.db" --log "$T/log.before" --until 2999-01-01T00:00:00Z >"$T/check.json" ||
    fail "the slow restore: $(cat "$T/check.json")"
rules '[]'
check_same
