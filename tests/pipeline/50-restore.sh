#!/bin/bash
# Goal: zl-restore gives back each state that was shipped: newest, by sequence, by moment, to a file and
# to stdout; refuses what it should; tells what there is.
. "$(dirname "$0")/../support/lib.sh"

db=$T/app.db
sql() { sqlite3 "$db" "$@" >/dev/null; }
# Nobody else uses these; so no -wal and -shm are left beside them.
dump() { sqlite3 "file:$1?immutable=1" .dump; }
# ship: all that is committed, as a new segment; remembers the state and a moment at which it is true
declare -a moment
ship() {
    zl-walship --once "$db"
    n=$((n + 1))
    sqlite3 "$db" .dump >"$T/state.$n"
    sleep 0.02
    moment[n]=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
    sleep 0.02
}

n=0
sql 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)'
ship
for i in 1 2 3 4 5 6; do
    sql "INSERT INTO t(v) SELECT randomblob(2000) FROM generate_series(1, $((i * 20)))"
    ship
done
sql 'DELETE FROM t WHERE id % 2'
ship
sql VACUUM
ship
last=$n

say "newest"
zl-restore -o "$T/r.db" app >"$OUT" 2>"$ERR"
expect_empty "$OUT"
expect_empty "$ERR"
dump "$T/r.db" | cmp - "$T/state.$last"
[ "$(stat -c %a "$T/r.db")" = 644 ]
[ -z "$(find "$T" -maxdepth 1 -name '.r.db*' -o -maxdepth 1 -name 'r.db-*')" ]
zl-restore -o - app | cmp - "$T/r.db" || fail "-o - differs"
[ -z "$(ls -A "$TMPDIR")" ]
[ "$(sqlite3 "file:$T/r.db?immutable=1" 'PRAGMA integrity_check')" = ok ]

say "each sequence and each moment"
first=$(zl-restore --list --json app | jq .first_sequence)
for i in $(seq "$last"); do
    rm -f "$T/r.db"*
    zl-restore --at "${moment[i]}" -o "$T/r.db" app
    dump "$T/r.db" | cmp - "$T/state.$i" || fail "moment $i"
    rm -f "$T/r.db"*
    zl-restore --sequence $((first + i - 1)) --check full -o "$T/r.db" app
    dump "$T/r.db" | cmp - "$T/state.$i" || fail "sequence $i"
done

say "what is there"
zl-restore --list app >"$OUT"
expect_grep "^GENERATION +PARENT +SEQUENCES" "$OUT"
expect_grep " 1-$last .* current$" "$OUT"
zl-restore --dry-run app >"$OUT"
expect_grep "^state +20.*, sequence $last, generation [0-9a-f]{16}" "$OUT"
zl-restore --dry-run --json app >"$OUT"
[ "$(jq .segments "$OUT")" = $((last - first)) ]
[ "$(jq .requests "$OUT")" = $((last - first + 1)) ]
rm "$T/r.db"
zl-restore --json -o "$T/r.db" app >"$OUT"
[ "$(jq -r .result "$OUT")" = restored ]
[ "$(jq .pages_written "$OUT")" = "$(sqlite3 "file:$T/r.db?immutable=1" 'PRAGMA page_count')" ]

say "an existing database: 73, or moved aside"
cp "$T/r.db" "$T/before"
expect_exit 73 zl-restore -o "$T/r.db" app
expect_grep 'hint: .*--force' "$ERR"
cmp "$T/r.db" "$T/before"
touch "$T/only.db-wal"
expect_exit 73 zl-restore -o "$T/only.db" app
sqlite3 "$T/r.db" 'INSERT INTO t(v) VALUES(1)'
cp "$T/r.db" "$T/before"
expect_exit 0 zl-restore --force --sequence "$first" -o "$T/r.db" app
expect_grep 'moved aside: .*/r\.db\.before-restore-20' "$ERR"
cmp "$T"/r.db.before-restore-* "$T/before"
dump "$T/r.db" | cmp - "$T/state.1"

say "a database that is in use is not moved away from under its application"
coproc app { sqlite3 "$T/r.db"; }
test_pids+=("$app_PID")
echo 'SELECT count(*) FROM t; INSERT INTO t(v) VALUES(2);' >&"${app[1]}"
read -r _ <&"${app[0]}"
expect_exit 75 zl-restore --force -o "$T/r.db" app
expect_grep 'in use by process' "$ERR"
echo .quit >&"${app[1]}"
wait "$app_PID" || true
expect_exit 0 zl-restore --force -o "$T/r.db" app

say "usage and things that are not there"
expect_exit 66 zl-restore -o "$T/x.db" nosuch
expect_exit 66 zl-restore --list nosuch
expect_exit 66 zl-restore --at 2001-01-01T00:00:00Z -o "$T/x.db" app
expect_grep 'hint: the earliest that can be restored is' "$ERR"
expect_exit 66 zl-restore --sequence 999 -o "$T/x.db" app
expect_exit 66 zl-restore --generation 0123456789abcdef -o "$T/x.db" app
expect_exit 64 zl-restore app
expect_exit 64 zl-restore -o "$T/x.db"
expect_exit 64 zl-restore -o "$T/x.db" ../app
expect_exit 64 zl-restore -o "$T/x.db" --at yesterday app
expect_exit 64 zl-restore -o "$T/x.db" --sequence 1x app
expect_exit 64 zl-restore -o "$T/x.db" --at "${moment[1]}" --sequence 1 app
expect_exit 64 zl-restore -o "$T/x.db" --list --dry-run app
expect_exit 64 zl-restore -o "$T/x.db" --auto --force app
expect_exit 64 zl-restore -o - --json app
expect_exit 73 zl-restore -o "$T/no/such/x.db" app
[ ! -e "$T/x.db" ]
[ ! -e "$T/.x.db.zl-restore" ]
expect_exit 64 script -qec "zl-restore -o - app" /dev/null

say "--prefix, another store"
mkdir -p "$T/copy/p"
cp -r "$T/store/db/app/." "$T/copy/p"
expect_exit 0 zl-restore --store "$T/copy" --prefix p/ -o "$T/x.db" app
dump "$T/x.db" | cmp - "$T/state.$last"
