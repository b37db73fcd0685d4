#!/bin/bash
# Goal: whatever happens to a database while no shipper runs, the next run ships it right: a
# difference where that is enough, another generation where the history is another one; what was
# restorable stays so. Each case: ship, change while down, ship, restore, compare.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"

# ship_first: a database of some MiB, shipped
ship_first() {
    new_db "${1:-}"
    walwriter write "$DB" --seconds 0.5 --size 20000 --log "$T/log" >"$T/write.json"
    once
    check_same
    check_segments
    stored_before=$(stored_bytes)
    size_before=$(stat -c %s "$DB")
}
# ship_again: and it is right. $shipped: bytes that went to the store.
ship_again() {
    once "$@"
    check_same
    check_segments
    shipped=$(($(stored_bytes) - stored_before))
    rm -f "$DB".old
}
# Only what changed was sent, not the database again.
expect_little() {
    [ "$shipped" -lt $((size_before / 5)) ] ||
        fail "$1: $shipped bytes sent for a database of $size_before"
}
generations() { jq '.generations | length' "$T/store/db/app/metadata.json"; }
# Rows as of the first run are still restorable as that moment.
first_moment_is_kept() {
    restore --sequence "$1"
    walwriter check - "$T/r.db" --log "$2" --until 2999-01-01T00:00:00Z >"$T/check.json" ||
        fail "the moment before is lost: $(cat "$T/check.json")"
}

say "written on, without any checkpoint: only the new commits are sent"
ship_first
hold_open
write_rows 20
ship_again
expect_little "the same WAL"
let_go

for mode in PASSIVE FULL RESTART TRUNCATE; do
    say "checkpointed ($mode) and written on"
    ship_first
    hold_open
    once
    write_rows 20
    sql "PRAGMA wal_checkpoint($mode)" >/dev/null
    write_rows 20
    ship_again
    let_go
    expect_little "$mode"
    [ "$(generations)" = 1 ] || fail "another generation for a checkpoint"
done

say "nothing at all: nothing is sent"
ship_first
n=$(store_list db/app/wal/ | wc -l)
once
once
[ "$(store_list db/app/wal/ | wc -l)" = "$n" ] || fail "segments of nothing"

say "the WAL is gone: the application closed its last connection, and came back"
ship_first
write_rows 20
sql 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
rm -f "$DB-wal" "$DB-shm"
write_rows 20
ship_again
expect_little "a new WAL"

say "journal_mode=delete and back"
ship_first
sql 'PRAGMA journal_mode=delete' "DELETE FROM t WHERE id <= 3" \
    'UPDATE tally SET n = n - 3' >/dev/null
sql 'PRAGMA journal_mode=wal' >/dev/null
: >"$T/log"
ship_again
expect_little "another journal mode"

say "in journal_mode=delete it is refused, and nothing changes"
sql 'PRAGMA journal_mode=delete' >/dev/null
expect_exit 64 zl-walship --once "$DB"
expect_grep 'enable-wal' "$ERR"
zl-walship --once --enable-wal "$DB"
check_same

say "VACUUM, and a dropped table: the file shrinks"
ship_first
sql 'CREATE TABLE big AS SELECT * FROM t' 'CREATE INDEX i ON big (data)' >/dev/null
ship_again
large=$(stat -c %s "$T/r.db")
sql 'DROP TABLE big' 'DELETE FROM t WHERE id <= 10' 'UPDATE tally SET n = n - 10' 'VACUUM' >/dev/null
: >"$T/log"
ship_again
[ "$(stat -c %s "$T/r.db")" -lt "$large" ] || fail "it did not shrink"

say "auto_vacuum"
ship_first 'PRAGMA auto_vacuum = full'
sql 'DELETE FROM t WHERE id > 10' 'UPDATE tally SET n = (SELECT count(*) FROM t)' >/dev/null
: >"$T/log"
ship_again

say "another page size"
ship_first
sql 'PRAGMA journal_mode=delete' 'PRAGMA page_size=8192' 'VACUUM' 'PRAGMA journal_mode=wal' >/dev/null
ship_again
[ "$(sqlite3 "$T/r.db" 'PRAGMA page_size')" = 8192 ] || fail "the page size is lost"

say "replaced by another database: a new generation, the old one stays"
ship_first
last=$segments
cp "$T/log" "$T/log.first"
rm -f "$DB" "$DB"-*
rm -f "$T/log"
sqlite3 "$DB" 'PRAGMA journal_mode=wal' 'CREATE TABLE other (x)' 'INSERT INTO other VALUES (1)' >/dev/null
ship_again
first_moment_is_kept "$last" "$T/log.first"

say "an older copy is put back and written on: both branches stay"
ship_first
sqlite3 "$DB" ".backup $T/older.db"
cp "$T/log" "$T/log.older"
write_rows 40
once
check_same
check_segments
last=$segments
cp "$T/log" "$T/log.first"
rm -f "$DB" "$DB"-*
sqlite3 "$T/older.db" 'PRAGMA journal_mode=wal' >/dev/null
mv "$T/older.db" "$DB"
cp "$T/log.older" "$T/log"
write_rows 10
ship_again
first_moment_is_kept "$last" "$T/log.first"

for rows in 7 30; do
    say "the state of a power loss: all is back at an earlier moment, then $rows other commits"
    ship_first
    hold_open
    write_rows 10
    mkdir -p "$T/power"
    cp "$DB" "$DB-wal" "$T/power/" # nobody writes: consistent
    cp "$T/log" "$T/log.older"
    write_rows 10
    once
    check_segments
    last=$segments
    cp "$T/log" "$T/log.first"
    let_go
    rm -f "$DB-shm"
    cp "$T/power/app.db" "$DB"
    cp "$T/power/app.db-wal" "$DB-wal"
    cp "$T/log.older" "$T/log"
    hold_open # so that the same WAL goes on
    write_rows $rows
    ship_again
    let_go
    first_moment_is_kept "$last" "$T/log.first"
done

say "the cache directory is lost, the database is as shipped: it goes on"
ship_first
rm -rf "$DB.zl"
ship_again
[ "$(generations)" = 1 ] || fail "another generation for an equal database"

say "the cache directory is lost and the database changed: refused, then taken over"
write_rows 20
rm -rf "$DB.zl"
check_segments
before=$(store_list db/ | sha256sum)
expect_exit 76 zl-walship --once "$DB"
expect_grep 'app belongs to .* since 20' "$ERR"
expect_grep 'hint:.*take-over' "$ERR"
[ "$(store_list db/ | sha256sum)" = "$before" ] || fail "a fenced run changed the store"
ship_again --take-over

say "the database is gone: --once says so, the shipper restores it"
ship_first
rm -f "$DB" "$DB"-*
expect_exit 66 zl-walship --once "$DB"
[ ! -e "$DB" ] || fail "--once made a database"
start_ship
within 10 is_streaming
sqlite3 "$DB" 'PRAGMA journal_mode' >"$T/.mode"
expect_grep '^wal$' "$T/.mode"
write_rows 5
drain_ship
check_same
[ "$(jq .rows "$T/check.json")" -gt 10 ] || fail "an empty database came back"

if has_crash_points; then
    say "gone with segments that were not sent: they are sent first, nothing is lost"
    hold_open
    write_rows 20
    ZL_CRASH_AT=ship.captured start_ship
    end_of "$ship"
    [ "$code" = 137 ] || fail "the shipper did not die: $code"
    [ "$(ship_status .pending_segments)" = 1 ] || fail "no segment waits"
    let_go
    rm -f "$DB" "$DB"-*
    start_ship
    within 10 is_streaming
    drain_ship
    check_same
fi

say "not with --no-auto-restore, nor when the store cannot be read"
rm -f "$DB" "$DB"-*
expect_exit 66 zl-walship --no-auto-restore "$DB"
rm -rf "$DB.zl"
expect_exit 75 env AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b zl-walship --retry-for 1s \
    --store 's3://b/r?endpoint=http://127.0.0.1:9&region=x' "$DB"
[ ! -e "$DB" ] || fail "a database appeared"
rm -rf "$DB.zl"
find "$T/store/db/app/snapshots" -name '*.zst' | while read -r f; do echo junk >"$f"; done
expect_exit 65 zl-walship "$DB"
[ ! -e "$DB" ] || fail "a database appeared from a corrupt backup"
