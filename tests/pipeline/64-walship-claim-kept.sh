#!/bin/bash
# Goal: a claim that may have reached the store is not made anew under its number. Steps: the first
# run is killed when its claim is stored and not confirmed, or sent and not stored; another database
# (of another page size: no difference can be shipped) is in place at the next start.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
has_crash_points || skip "built without crash points"

for point in ship.attempted ship.stored ship.acknowledged; do
    say "$point"
    new_db 'CREATE TABLE t1 (a)'
    expect_exit 137 env ZL_CRASH_AT=$point zl-walship --once "$DB"
    rm -f "$DB" "$DB"-*
    sqlite3 "$DB" 'PRAGMA page_size = 8192; PRAGMA journal_mode = wal;
        CREATE TABLE t2 (b); INSERT INTO t2 VALUES (42)' >"$T/.mode"
    once || fail "the next run: $(cat "$T/ship.err")"
    restore --check full
    [ "$(sqlite3 "$T/r.db" 'SELECT b FROM t2')" = 42 ]
    check_segments
done
