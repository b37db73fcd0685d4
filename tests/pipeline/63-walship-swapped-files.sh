#!/bin/bash
# Goal: what people do to the files while the shipper runs on is noticed, and what is committed
# afterwards arrives: -wal and -shm removed while the application is stopped; a backup copied over the
# database, in place.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
same_dump() { restore --check full && cmp <(sqlite3 "$DB" .dump) <(sqlite3 "$T/r.db" .dump); }
# The latest state arrives by itself within a few seconds.
arrives() {
    sleep 2.5
    zl-walship --flush --timeout 20s "$DB"
    same_dump || fail "$1: the replica is not the database"
}

say "-wal and -shm are removed"
new_db 'CREATE TABLE t1 (a)'
start_ship --sync-interval 50ms
within 10 is_streaming
sql 'INSERT INTO t1 VALUES (1)'
zl-walship --flush "$DB"
rm "$DB-wal" "$DB-shm"
sql 'INSERT INTO t1 VALUES (2)'
arrives "after rm"
sql 'INSERT INTO t1 VALUES (3)'
arrives "and further on"
drain_ship

say "a backup is copied over the database"
new_db 'CREATE TABLE t1 (a); INSERT INTO t1 SELECT randomblob(100) FROM generate_series(1, 5000)'
start_ship --sync-interval 50ms --snapshot-interval 2s
within 10 is_streaming
sqlite3 "$DB" "VACUUM INTO '$T/backup.db'"
sqlite3 "$T/backup.db" 'PRAGMA journal_mode = wal' >"$T/.mode"
sql 'UPDATE t1 SET a = randomblob(100); DELETE FROM t1 WHERE rowid % 3 = 0'
zl-walship --flush "$DB"
sqlite3 "$DB" 'PRAGMA wal_checkpoint' >"$T/.mode" # or the WAL would lie over the backup
sqlite3 "$DB" 'PRAGMA wal_checkpoint' >"$T/.mode"
cat "$T/backup.db" >"$DB"
rm -f "$DB-wal" "$DB-shm"
sql 'INSERT INTO t1 VALUES (4711)'
arrives "after a copy"
drain_ship
