#!/bin/bash
# Goal: when the host loses its power, the replica and the database that is left never contradict each
# other unnoticed. What the application was promised (synchronous=FULL) is in the database and, with
# the next run, in the replica. Of what it was not promised (NORMAL) the database may have lost the
# end, which the replica has: the database as it is is shipped on, with a warning, and the moments
# before stay restorable. The store is elsewhere and keeps its power.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"
source "$(dirname "$0")/../support/power.sh"
need_root "mounts a disk"
DB=$T/disk/app.db
rounds=4
[ -z "${ZL_SOAK:-}" ] || rounds=40

dump() { sqlite3 "$1" .dump | sha256sum; }
# What the application will find, looked at in a copy: the first to open the database recovers it.
copy_as_it_is() {
    rm -f "$T"/asis*
    cp "$DB" "$T/asis.db"
    [ ! -e "$DB-wal" ] || cp "$DB-wal" "$T/asis.db-wal"
    rows_left=$(sqlite3 "$T/asis.db" 'SELECT max(id) FROM t' 2>/dev/null || true)
}
generations() { jq '.generations | length' "$T/store/db/app/metadata.json"; }
rows_in() { sqlite3 "$1" 'SELECT count(*) FROM t'; }

for mode in full normal; do
    say "synchronous=$mode"
    disk_up
    new_db 'CREATE TABLE before_all (x)'
    once # the first snapshot
    sync -f "$T/disk" # the database itself is from long ago
    rolled_back=0
    : >"$T/ship.err"
    for ((i = 0; i < rounds; i++)); do
        start_ship --sync-interval 50ms --snapshot-interval 2s
        start_writer --rate 300 --synchronous $mode
        within 20 test -s "$T/log"
        sleep "$((i % 2)).$((RANDOM % 8 + 2))"
        power_cut "$writer" "$ship"
        copy_as_it_is
        acked=$(tail -1 "$T/log" | cut -d' ' -f1)
        [ $mode = normal ] || [ "${rows_left:-0}" -ge "$acked" ] || fail "the disk lost what was synced"

        # Before anything else happens the replica has a whole history, and its moment has a number.
        restore --check full
        rows_stored=$(rows_in "$T/r.db")
        dump "$T/r.db" >"$T/before.dump"
        last=$(store_list db/app/wal/ | tail -1 | sed 's/.*\/0*\([0-9]*\)\.wal\.zst$/\1/')
        # Case 3 below writes first: then nobody can tell.
        [ "$rows_stored" -le "${rows_left:-0}" ] || [ $((i % 4)) = 3 ] || rolled_back=$((rolled_back + 1))
        echo "   acknowledged $acked, left ${rows_left:-none}, stored $rows_stored, segment $last"

        # Who comes back first: the shipper, or the application, which recovers and maybe closes.
        case $((i % 4)) in
        0) ;;
        1) hold_open ;;
        2) sql 'SELECT count(*) FROM sqlite_master' >/dev/null ;;
        3) sql 'CREATE TABLE IF NOT EXISTS since (x)' 'INSERT INTO since VALUES (1)' ;;
        esac
        once
        check=$T/log
        [ $mode = full ] || rm -f "$T/log" # nothing was promised
        check_same
        check_segments
        restore --sequence "$last"
        dump "$T/r.db" | cmp - "$T/before.dump" || fail "the moment before the cut is not restorable"
        [ $((i % 4)) != 1 ] || let_go
    done
    [ "$(generations)" = 1 ] || fail "a new generation: something of ours was lost"
    if [ $mode = full ]; then
        expect_empty "$T/ship.err"
    else
        [ $rolled_back -gt 0 ] || fail "no round in which the replica was ahead"
        warned=$(grep -c 'lost commits that were captured' "$T/ship.err" || true)
        [ "$warned" -ge $rolled_back ] || fail "$rolled_back times back, $warned warnings"
    fi
done

has_crash_points || { say "not built with crash points" && exit 0; }

say "what was captured and not sent is a moment of its own after the cut"
for point in ship.captured ship.attempted ship.stored ship.acknowledged; do
    disk_up
    new_db
    write_rows 10
    once
    sync -f "$T/disk"
    : >"$T/ship.err"
    start_writer --rate 300 --synchronous full --size 20000
    ZL_CRASH_AT=$point:2 start_ship --sync-interval 20ms
    end_of "$ship"
    [ $code = 137 ] || fail "$point: exit $code"
    sent=$(ls "$T/store/db/app/wal" | wc -l)
    power_cut "$writer"
    waiting=$(ls "$DB.zl" | grep -c '\.wal\.zst$' || true)
    once -v
    check_same
    check_segments
    [ "$(generations)" = 1 ] || fail "$point: a new generation"
    expect_no_grep 'continuity lost' "$T/ship.err"
    echo "   $point: $sent in the store, $waiting on the disk, $segments at last"
    [ $point != ship.captured ] || [ "$waiting" -gt 0 ] || fail "nothing waited"
done
