#!/bin/bash
# Goal: the shell lines of zl-recovery(7), run as they are printed, bring a database back without zl;
# with older segments, other generations, merged objects and a hole lying about.
. "$(dirname "$0")/../support/lib.sh"

for tool in jq zstd sqlite3; do command -v $tool >/dev/null || fail "$tool is missing"; done
# The code blocks below WITHOUT ZL, numbered.
awk -v dir="$T" '/^# /{on = $0 == "# WITHOUT ZL"} !on {next}
    /^```/ {inside = !inside; n += inside; next} inside {print > (dir "/block." n)}' \
    "$support/../../man/zl-recovery.7.scd"
[ "$(cat "$T"/block.* | wc -l)" = 7 ] || fail "expected 7 lines of shell"
sed -n 2p "$T/block.1" >>"$T/block.2" # "the first line is"
expect_grep '^aws s3 cp --recursive s3://B/R/db/app/ \. ;' "$T/block.1"
# As a reader gets to see them.
if command -v groff >/dev/null; then
    scdoc <"$support/../../man/zl-recovery.7.scd" |
        LANG=C groff -man -Tutf8 -rLL=1000n -P-cbou | tr '\302\240' '  ' >"$T/page"
    while read -r line; do
        grep -qF -- "$line" "$T/page" || fail "not in the rendered manual: $line"
    done < <(cat "$T"/block.*)
fi
# aws s3 cp --recursive, from our directory
aws() {
    [ "$*" = "s3 cp --recursive s3://B/R/db/app/ ." ] || fail "aws $*"
    cp -r "$T/store/db/app/." .
}
STORE=$T/store

db=$T/app.db
sql() { sqlite3 "$db" "$@" >/dev/null; }
ship() { zl-walship --snapshot-interval 1000h --once "$@" "$db"; }
by_hand() { # BLOCK...: run in an empty directory; the dump of what comes out in $T/dump
    rm -rf "$T/hand"
    mkdir "$T/hand"
    cd "$T/hand"
    for block; do . "$T/block.$block" >>"$T/hand.out" 2>&1; done
    cd "$T"
    sqlite3 "$T/hand/app.db" .dump >"$T/dump"
    [ "$(sqlite3 "$T/hand/app.db" 'PRAGMA integrity_check')" = ok ]
}
same() { # FILE: .dump as wanted
    cmp "$T/dump" "$1" || fail "another state"
}

sql 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)'
ship
for i in 1 2 3; do
    sql "INSERT INTO t(v) SELECT randomblob(900) FROM generate_series(1, $((i * 30)))"
    ship
done
sqlite3 "$db" .dump >"$T/state.4"
sql 'DELETE FROM t WHERE id % 3 = 1'
ship
sql VACUUM
ship
sqlite3 "$db" .dump >"$T/state.6"

say "one generation: from S3, from a directory, and with zl"
by_hand 1 3
expect_grep 'applied up to 6' "$T/hand.out"
same "$T/state.6"
by_hand 2 3
same "$T/state.6"
zl-restore -o "$T/zl.db" app
cmp "$T/zl.db" "$T/hand/app.db" || fail "not the same bytes as zl-restore's"

say "times and sequences can be seen"
cd "$T/hand"
. "$T/block.4" >"$OUT"
[ "$(grep -c '^wal/0.*"time":"20..-..-..T' "$OUT")" = 6 ]
. "$T/block.5" >"$OUT"
expect_grep '^snapshots/.* "sequence":1$' "$OUT"
cd "$T"

say "up to a hole"
mv "$(printf '%s/db/app/wal/%020d.wal.zst' "$STORE" 5)" "$T/five"
by_hand 1 3
same "$T/state.4"
mv "$T/five" "$(printf '%s/db/app/wal/%020d.wal.zst' "$STORE" 5)"

say "a second generation, with the segments of the first lying beside"
cp "$T/hand/app.db" "$T/older" # as of segment 4
rm -rf "$db" "$db-wal" "$db-shm" "$db.zl" # another machine, say
cp "$T/older" "$db"
sql "INSERT INTO t(v) VALUES('after going back')"
ship --take-over
[ "$(jq '.generations | length' "$STORE/db/app/metadata.json")" = 2 ]
sql "INSERT INTO t(v) VALUES('and on')"
ship
sqlite3 "$db" .dump >"$T/state.new"
by_hand 1 3
same "$T/state.new"

say "a generation that only began: its segments are not for the older snapshot"
cp "$STORE/db/app/metadata.json" "$T/meta"
jq '.latest_snapshot_sequence = 1 | .latest_snapshot = $s' --arg s \
    "db/app/snapshots/$(ls "$STORE/db/app/snapshots" | head -1)" "$T/meta" \
    >"$STORE/db/app/metadata.json"
by_hand 1 3
same "$T/state.6"
