#!/bin/bash
# Goal: a replica has one writer. A second one is stopped before it changes anything, one that took
# over wins, and one that slept through it stops by itself; nothing that was in the store is lost.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"

other=$T/other/app.db # the same NAME on another host
other_log=$T/other.log
# The other host's database: a copy of ours
copy_to_other() {
    rm -rf "$T/other"
    mkdir "$T/other"
    sqlite3 "$DB" ".backup $other"
    sqlite3 "$other" 'PRAGMA journal_mode=wal' >/dev/null
}
write_other() {
    python3 "$support/walwriter.py" write "$other" --rate 200 --seconds 0.1 --log "$other_log" >/dev/null
}
store_sum() { (cd "$T/store" && find . -type f | sort | xargs sha256sum) | sha256sum; }
check_other() {
    restore "$@"
    walwriter check "$other" "$T/r.db" --log "$other_log" >"$T/check.json" ||
        fail "not the other's database: $(cat "$T/check.json")"
}

say "a second writer with another state is refused and changes nothing"
new_db
start_ship --sync-interval 100ms
within 10 is_streaming
write_rows 20
zl-walship --flush "$DB"
copy_to_other
cp "$T/log" "$other_log"
write_other
before=$(store_sum)
expect_exit 76 zl-walship "$other"
expect_grep '^zl-walship: app belongs to .+ since 20' "$ERR"
expect_grep '^hint: .*--take-over' "$ERR"
expect_exit 76 zl-walship --once "$other"
[ "$(store_sum)" = "$before" ] || fail "a refused writer changed the store"

say "it does not start a command either"
expect_exit 76 zl-walship "$other" -- touch "$T/started"
[ ! -e "$T/started" ] || fail "the command was started"

say "it takes over when told to; the first stops by itself with its next commit"
zl-walship --once --take-over "$other" 2>"$ERR"
check_other
check_segments
write_rows 5
code=0
within 10 eval '! kill -0 $ship 2>/dev/null'
end_of "$ship"
[ "$code" = 76 ] || fail "the former writer ended with $code"
expect_grep 'app belongs to .+ since 20' "$T/ship.err"
check_other # and nothing of the loser went in
check_segments
expect_exit 1 zl-walship --status "$DB"
# All that the first had shipped is restorable still, beside the other's.
cp "$T/log" "$T/log.both"
zl-restore --list app >"$T/list"
[ "$(jq '.generations | length' "$T/store/db/app/metadata.json")" = 2 ] || fail "no second generation"

say "started again it stays stopped"
before=$(store_sum)
expect_exit 76 zl-walship --once "$DB"
[ "$(store_sum)" = "$before" ] || fail "a fenced writer changed the store"

say "a host that restored goes on where the first was; the first loses its next PUT"
new_db
: >"$T/ship.err"
start_ship --sync-interval 100ms
within 10 is_streaming
write_rows 20
zl-walship --flush "$DB"
rm -rf "$T/other"
mkdir "$T/other"
zl-restore -o "$other" app
cp "$T/log" "$other_log"
zl-walship --once "$other" # equal to the head: no --take-over needed
write_other
zl-walship --once "$other"
check_segments
write_rows 3
within 10 eval '! kill -0 $ship 2>/dev/null'
end_of "$ship"
[ "$code" = 76 ] || fail "the former writer ended with $code"
check_other
[ "$(jq '.generations | length' "$T/store/db/app/metadata.json")" = 1 ] ||
    fail "another generation for an equal database"

say "stopped while another took over: when it goes on, it stops without a trace"
new_db
start_ship --sync-interval 100ms
within 10 is_streaming
write_rows 20
zl-walship --flush "$DB"
kill -STOP "$ship"
rm -rf "$T/other"
mkdir "$T/other"
zl-restore -o "$other" app
cp "$T/log" "$other_log"
write_other
zl-walship --once --take-over "$other"
check_other
write_rows 10
before=$(store_sum)
kill -CONT "$ship"
within 15 eval '! kill -0 $ship 2>/dev/null'
end_of "$ship"
[ "$code" = 76 ] || fail "it ended with $code"
[ "$(store_sum)" = "$before" ] || fail "it changed the store"
check_other
check_segments

say "a writer that ended in order may be followed without --take-over"
new_db
start_ship --sync-interval 100ms
within 10 is_streaming
write_rows 10
copy_to_other
cp "$T/log" "$other_log"
write_rows 10
drain_ship
check_same
last=$(jq .latest_wal_sequence "$T/store/db/app/metadata.json")
write_other # another branch than what was shipped last
zl-walship --once "$other" 2>"$ERR"
check_other
check_segments
restore --sequence "$last"
walwriter check "$DB" "$T/r.db" --log "$T/log" >"$T/check.json" || fail "the first branch is lost"

say "two at once on one database: the second one says who ships it"
new_db
start_ship
within 10 is_streaming
expect_exit 75 zl-walship "$DB"
expect_grep 'another zl-walship \(pid [0-9]+\)' "$ERR"
drain_ship
