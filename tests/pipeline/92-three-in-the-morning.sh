#!/bin/bash
# Goal: the restore at three in the morning: local state is gone, the first attempts are wrong, objects
# are damaged. Each answer says what is there, what went wrong, and what to type next.
. "$(dirname "$0")/../support/lib.sh"
. "$support/walship.sh"

export TERM=xterm
new_db 'CREATE TABLE t(v)'
start_ship --snapshot-interval 1h --sync-interval 100ms
within 10 is_streaming
for i in 1 2 3 4 5 6; do
    sql "INSERT INTO t VALUES($i)"
    zl-walship --flush "$DB"
    [ $i != 3 ] || { sleep 0.1; noon=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ); sleep 0.1; }
done
drain_ship
mktree --only small "$T/tree"
pack_store "$T/tree" web1

say "1 local state is gone: the store tells what exists"
rm -rf "$ZL_STATE_DIR" "$DB.zl" "$XDG_STATE_HOME"
zl-ls >"$OUT"
expect_grep '^web1	layer' "$OUT"
expect_grep '^db/app	database' "$OUT"
zl-restore --list app >"$OUT"
expect_grep '20[0-9-]+T[0-9:.]+Z' "$OUT"
zl-pull web1 | zl-unpack -C "$T/web1"
same_tree "$T/tree" "$T/web1"

say "2 wrong credentials: 77 at once, and where they came from (a refusal by a server: s3/19-iam)"
start=$SECONDS
(
    unset "${!AWS_@}"
    AWS_EC2_METADATA_DISABLED=true expect_exit 77 zl-restore --store 's3://b/r?endpoint=http://127.0.0.1:9' \
        -o "$T/r.db" app
)
expect_grep '^zl-restore: .*credentials' "$ERR"
expect_grep '^hint: .*AWS_ACCESS_KEY_ID' "$ERR"
[ $((SECONDS - start)) -lt 5 ]

say "3 the database is still there: refused, with both ways on"
cp "$DB" "$T/here.db"
expect_exit 73 zl-restore -o "$DB" app
expect_grep "$DB" "$ERR"
expect_grep '^hint: .*--force' "$ERR"
expect_grep 'another|other|-o' "$ERR"
cmp "$DB" "$T/here.db"

say "4 what can be restored: ranges in UTC, the newest last"
zl-restore --list --json app | jq -es 'length >= 1 and .[-1].current and all(.from <= .to)' >/dev/null

say "5 the plan of a moment: what it leads to, what is fetched, what room it takes"
expect_exit 0 zl-restore -n --at "$noon" -o "$T/r.db" app
expect_grep '^state +20.*, sequence [0-9]+' "$OUT"
expect_grep '^snapshot +.*snapshots/' "$OUT"
expect_grep '^segments +[0-9]+, ' "$OUT"
expect_grep '^fetch +at most .* in [0-9]+ requests' "$OUT"
expect_grep "^disk +about [0-9.]+ [KMG]?i?B in $T, which has [0-9.]+ .*free" "$OUT"
[ ! -e "$T/r.db" ]

say "6 before the first backup: 66 and what the earliest is"
expect_exit 66 zl-restore --at 2020-01-01T00:00:00Z -o "$T/r.db" app
expect_grep '20[2-9][0-9]-[0-9T:.-]+Z' "$ERR"
expect_exit 64 zl-restore --at '2026-11-22 02:00' -o "$T/r.db" app # which zone?

say "7 an outage in the middle is in s3/20-outage-at-a-terminal; the moment itself:"
expect_exit 0 zl-restore --at "$noon" -o "$T/r.db" app
[ "$(sqlite3 "$T/r.db" 'SELECT max(v) FROM t')" = 3 ]

say "8 a segment is damaged: 65, the last good moment and the command that leads there; no file"
last=$(store_list db/app/wal/ | tail -2 | head -1 | sed 's/^[0-9]* //')
printf x | dd of="$T/store/$last" bs=1 seek=100 conv=notrunc status=none
rm "$T/r.db"
expect_exit 65 zl-restore -o "$T/r.db" app
[ ! -e "$T/r.db" ]
hint=$(sed -n 's/^hint: .*\(zl-restore .*\)/\1/p' "$ERR" | head -1)
[ -n "$hint" ] || fail "no command: $(cat "$ERR")"

say "9 that command works as it is printed; the end says what it is"
SHELL=/bin/bash script -qec "$hint" /dev/null </dev/null >"$OUT" 2>&1 || fail "$hint: $(cat "$OUT")"
expect_grep 'zl-restore: restored 20[0-9-]+T[0-9:.]+Z, sequence [0-9]+' "$OUT"
[ "$(sqlite3 "$T/r.db" 'PRAGMA integrity_check')" = ok ]
[ "$(sqlite3 "$T/r.db" 'SELECT max(v) FROM t')" -ge 3 ]

say "10 shipping goes on from there; the old history stays"
before=$(zl-restore --list --json app | jq -rs '.[-1].generation')
mkdir "$T/new"
mv "$T/r.db" "$T/new/app.db"
sqlite3 "$T/new/app.db" 'PRAGMA journal_mode = wal; INSERT INTO t VALUES(100)' >/dev/null
expect_exit 0 zl-walship --once --take-over "$T/new/app.db"
restore
[ "$(sqlite3 "$T/r.db" 'SELECT max(v) FROM t')" = 100 ]
zl-restore --list --json app | jq -es --arg g "$before" 'map(.generation) | index($g)' >/dev/null ||
    fail "generation $before is gone"

say "11 without our tools: 55-recovery-manual runs zl-recovery(7) as it is printed"
