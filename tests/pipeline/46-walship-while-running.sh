#!/bin/bash
# Goal: whatever an application does to its database under a running shipper arrives: page sizes,
# VACUUM, dropped tables, large transactions, a file that is replaced or deleted and comes back; a long
# reader holds nobody up; and each moment can be restored as it was.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"

flush() { timeout 60 zl-walship --flush "$DB" || fail "--flush: $? $(tail -3 "$T/ship.err")"; }
generations() { jq '.generations | length' "$T/store/db/app/metadata.json"; }
begin() { # [PRAGMA]
    new_db "${1:-}"
    start_ship --sync-interval 100ms
    within 10 is_streaming
}

for size in 512 1024 8192 65536; do
    say "pages of $size bytes"
    begin "PRAGMA page_size = $size"
    walwriter write "$DB" --rate 100 --seconds 0.5 --size 3000 --log "$T/log" >/dev/null
    flush
    check_same
    [ "$(sqlite3 "$T/r.db" 'PRAGMA page_size')" = $size ] || fail "another page size"
    drain_ship
done

say "VACUUM, DROP, auto_vacuum: the size follows"
begin 'PRAGMA auto_vacuum = incremental'
walwriter write "$DB" --seconds 0.5 --size 20000 --log "$T/log" >/dev/null
sql 'CREATE TABLE big AS SELECT * FROM t' 'CREATE INDEX i ON big (data)'
flush
check_same
large=$(stat -c %s "$T/r.db")
sql 'DROP TABLE big' 'PRAGMA incremental_vacuum'
flush
check_same
sql 'DELETE FROM t WHERE id > 10' 'UPDATE tally SET n = 10' VACUUM
rm "$T/log"
flush
check_same
[ "$(stat -c %s "$T/r.db")" -lt $((large / 4)) ] || fail "it did not shrink"
[ "$(generations)" = 1 ] || fail "a new generation"

say "a transaction of 60 MB, memory stays small"
sql 'CREATE TABLE big AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 6000)
     SELECT i, randomblob(10000) AS x FROM n'
flush
check_same
peak=$(awk '/VmHWM/ {print $2}' "/proc/$ship/status")
[ "$peak" -lt 100000 ] || fail "peak memory $peak kB"
say "   peak memory $((peak / 1024)) MiB"
drain_ship

say "a long reader: the writer is not held up, the replica goes on"
begin
hold_open
python3 -c 'import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN")
db.execute("SELECT count(*) FROM sqlite_master").fetchone()
time.sleep(1e6)' "$DB" &
reader=$!
test_pids+=("$reader")
walwriter write "$DB" --rate 300 --seconds 4 --size 4000 --log "$T/log" >"$T/writer.json"
flush
check_same
jq -e '.p99_ms < 50' "$T/writer.json" >/dev/null || fail "the writer waited: $(cat "$T/writer.json")"
kill -KILL "$reader"
wal_is_small() {
    write_rows 5
    sleep 0.3
    [ "$(stat -c %s "$DB-wal")" -gt 0 ] && [ "$(ship_status .wal_frames)" -lt 1500 ]
}
within 15 wal_is_small # the WAL is begun anew once the reader is gone
flush
check_same
let_go
drain_ship

say "each moment as it was"
begin
declare -a moment sums
for i in $(seq 8); do
    sql "CREATE TABLE IF NOT EXISTS m (i); INSERT INTO m VALUES ($i)"
    flush
    sleep 0.05
    moment[i]=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
    sleep 0.3
done
drain_ship
for i in 8 3 1 5 7 2 4 6; do
    restore --at "${moment[i]}"
    [ "$(sqlite3 "$T/r.db" 'SELECT count(*) || max(i) FROM m')" = $i$i ] || fail "moment $i is wrong"
done
expect_exit 66 zl-restore -o "$T/before.db" --at 2020-01-01T00:00:00Z app

say "another database is moved into its place: it is shipped, the moments before stay"
begin
write_rows 20
flush
last=$(ship_status .durable_sequence)
cp "$T/log" "$T/log.first"
sqlite3 "$T/new.db" 'PRAGMA journal_mode=wal' 'CREATE TABLE other (x)' 'INSERT INTO other VALUES (1)' \
    'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
rm -f "$DB-wal" "$DB-shm" "$T/new.db"-* "$T/log"
mv "$T/new.db" "$DB"
other_is_shipped() { restore && [ "$(sqlite3 "$T/r.db" 'SELECT x FROM other' 2>"$ERR")" = 1 ]; }
within 15 other_is_shipped
flush
check_same
restore --sequence "$last"
walwriter check - "$T/r.db" --log "$T/log.first" --until 2999-01-01T00:00:00Z >"$T/check.json" ||
    fail "the database before is lost"

say "deleted and made anew"
rm -f "$DB" "$DB"-*
is_waiting() { [ "$(ship_status .state)" = waiting ]; }
within 10 is_waiting
sqlite3 "$DB" 'PRAGMA journal_mode=wal' >/dev/null
write_rows 20
new_is_shipped() { restore && [ "$(sqlite3 "$T/r.db" 'SELECT n > 0 FROM tally' 2>"$ERR")" = 1 ]; }
within 15 new_is_shipped
flush
check_same
drain_ship

say "journal_mode=delete is refused while it is shipped"
begin
write_rows 5
if sql 'PRAGMA journal_mode=delete' 2>"$ERR"; then expect_grep '^wal$' <(sql 'PRAGMA journal_mode'); fi
write_rows 5
drain_ship
check_same
