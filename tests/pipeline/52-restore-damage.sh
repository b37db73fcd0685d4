#!/bin/bash
# Goal: what is missing or damaged in the store is named, with the last good moment, and the command in
# the hint restores to it as it is printed.
. "$(dirname "$0")/../support/lib.sh"

db=$T/app.db
declare -a state
ship() {
    zl-walship --once "$db"
    n=$((n + 1))
    state[n]=$(sqlite3 "$db" .dump | sha256sum)
}
n=0
sqlite3 "$db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)' >/dev/null
ship
for i in 1 2 3 4 5; do
    sqlite3 "$db" "INSERT INTO t(v) VALUES(randomblob(5000))"
    ship
done
cp -r "$T/store" "$T/whole"
segment() { printf '%s/db/app/wal/%020d.wal.zst' "$T/store" "$1"; }
flip() { # FILE OFFSET
    python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); b = f.read(1)
f.seek(int(sys.argv[2])); f.write(bytes([b[0] ^ 1]))' "$1" "$2"
}
# broken N: 65 because of segment N; the printed command brings back N-1
broken() {
    expect_exit 65 zl-restore -o "$T/new db" app
    [ ! -e "$T/new db" ]
    expect_grep "$(basename "$(segment "$1")")" "$ERR"
    expect_grep "last good moment before is 20[0-9TZ:.-]* \(sequence $(($1 - 1))\)" "$ERR"
    command=$(sed -n "s/.*to restore to it: //p" "$ERR")
    eval "$command"
    [ "$(sqlite3 "file:$T/new db?immutable=1" .dump | sha256sum)" = "${state[$1 - 1]}" ] ||
        fail "$command: another state"
    rm "$T/new db"
    rm -r "$T/store"
    cp -r "$T/whole" "$T/store"
}

say "a segment that is missing"
rm "$(segment 4)"
broken 4
rm "$(segment 6)" # the newest: metadata.json knows that it was there
broken 6
say "a segment with a flipped bit: header, body"
flip "$(segment 3)" 100
broken 3
flip "$(segment 5)" 1200
broken 5
say "a segment that is cut"
truncate -s -1 "$(segment 2)"
broken 2
truncate -s 0 "$(segment 2)"
broken 2
say "a segment in another's place"
cp "$(segment 3)" "$(segment 4)"
broken 4

say "the only snapshot"
for at in 50 -5; do
    snapshot=$(echo "$T"/store/db/app/snapshots/*)
    size=$(stat -c %s "$snapshot")
    flip "$snapshot" $(((at + size) % size))
    expect_exit 65 zl-restore --sequence 1 -o "$T/x.db" app
    expect_grep "$(basename "$snapshot")" "$ERR"
    # Without the index not even the newest, all of whose pages are in segments.
    [ $at = 50 ] || expect_exit 65 zl-restore --auto -o "$T/x.db" app
    [ ! -e "$T/x.db" ]
    rm -r "$T/store"
    cp -r "$T/whole" "$T/store"
done
rm "$T"/store/db/app/snapshots/*
expect_exit 65 zl-restore -o "$T/x.db" app
rm -r "$T/store"
cp -r "$T/whole" "$T/store"

say "a replica of zlayer-storage is told from ours"
echo '{"latest_snapshot": "db/old/snapshots/20261122_060000.sqlite.zst", "latest_snapshot_time":
"2026-11-22T06:00:00Z", "latest_wal_sequence": 0, "snapshot_count": 1, "db_identifier": "old",
"last_modified": "2026-11-22T06:00:00Z"}' >"$T/meta"
mkdir -p "$T/store/db/old/snapshots"
cp "$T/meta" "$T/store/db/old/metadata.json"
zstd -q -o "$T/store/db/old/snapshots/20261122_060000.sqlite.zst" "$db"
expect_exit 65 zl-restore -o "$T/x.db" old
expect_grep 'hint: .*zstd|hint: .*zlayer' "$ERR"
[ ! -e "$T/x.db" ]
