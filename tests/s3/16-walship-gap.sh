#!/bin/bash
# Goal: a state `gap` always ends when the store is well again, and the application's disk is spared
# from the first second on. Steps, with a cache and --max-wal of 1 and 2 MiB: the first snapshot is
# refused for a while, segments are not; the store is away from the beginning; the file is replaced
# in a gap. Each time the newest state must arrive in the end.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
use_proxy
small=(--sync-interval 50ms --max-cache-size 1MiB --max-wal 2MiB --retry-for 1s)
down() { rules '[{"action": "reset_before", "count": -1}]'; }
up() { rules '[]'; }
is() { [ "$(ship_status "$1")" = "$2" ]; }
write_much() { walwriter write "$DB" --rate 300 --seconds "$1" --size 9000 --log "$T/log" >"$T/writer.json"; }
let_go_of() { sqlite3 "$DB" 'PRAGMA wal_checkpoint(TRUNCATE)' | grep -q '^0|'; }
arrives() {
    within 20 is .state streaming
    zl-walship --flush --timeout 20s "$DB" || fail "$1: $(tail -3 "$T/ship.err")"
    check_same
    drain_ship
    ZL_STORE=${ZL_STORE/$s3_root/$s3_root-x} # the next begins with nothing
    s3_root=$s3_root-x
}

say "the first snapshot is refused, segments are not"
new_db
rules '[{"action": "status", "status": 503, "method": "PUT", "path": "snapshots/", "count": -1}]'
start_ship "${small[@]}"
within 10 is .durable_sequence 1
write_much 4
up
arrives "after a gap before the first snapshot"

say "the store is away from the beginning"
new_db
down
start_ship "${small[@]}"
sleep 1
write_much 4
within 25 let_go_of # the application's own checkpoints work again
expect_exit 1 zl-walship --status --max-lag 1s "$DB"
up
arrives "after a beginning without a store"

say "the file is replaced in a gap"
new_db
start_ship "${small[@]}"
within 10 is .state streaming
zl-walship --flush "$DB"
down
write_much 4
within 15 is .state gap
let_go_of || fail "the WAL is held"
cp "$DB" "$T/other"
mv "$T/other" "$DB"
rm -f "$DB-wal" "$DB-shm"
sleep 2
sql 'CREATE TABLE more (a); INSERT INTO more VALUES (1)'
within 5 let_go_of # of the new file
up
arrives "after a gap and another file"
[ "$(sqlite3 "$T/r.db" 'SELECT a FROM more')" = 1 ]
[ "$(grep -c 'letting go of it' "$T/ship.err")" -le 4 ] || fail "the log is full of it"
