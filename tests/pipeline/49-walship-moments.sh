#!/bin/bash
# Goal: any moment comes back as it was: 50 random moments over snapshots, kills, a new generation and
# merged segments, each with all that was committed by then and nothing later; also after the clock was
# stepped back between two runs.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"

moments=50
run_for() { # SECONDS [OPTION]...
    local seconds=$1
    shift
    start_ship --sync-interval 50ms --snapshot-interval 2s "$@"
    walwriter write "$DB" --rate 60 --seconds "$seconds" --log "$T/log" >/dev/null
}

junk="WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<3000) INSERT INTO junk SELECT randomblob(3000) FROM c"
new_db
sqlite3 "$DB" "CREATE TABLE junk(b); $junk"
run_for 5
kill_ship
run_for 4
zl-walship --flush "$DB"
kill_ship
sqlite3 "$DB" "DELETE FROM junk; VACUUM; $junk" # most of the pages differ: a new generation
sqlite3 "$DB" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
run_for 4
drain_ship
zl-restore --list --json app | jq -es 'length == 2' >/dev/null || fail "$(zl-restore --list app)"

say "$moments random moments"
python3 - "$T/log" "$moments" >"$T/moments" <<'PY'
import random
import sys
import time
lines = [line.split() for line in open(sys.argv[1])]
first, last = int(lines[0][1]), int(lines[-1][1])
random.seed(7)
for _ in range(int(sys.argv[2])):
    ns = random.randint(first + 2 * 10**9, last)
    print(time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(ns // 10**9)) + '.%03dZ' % (ns // 10**6 % 1000))
PY
n=0
while read -r moment; do
    n=$((n + 1))
    rm -f "$T"/r.db*
    zl-restore -o "$T/r.db" --at "$moment" app 2>"$ERR" || fail "$moment: $(cat "$ERR")"
    # Granularity: the sync interval, and a kill between (0.6 s until the next run ships).
    walwriter check - "$T/r.db" --log "$T/log" --until "$moment" --slack 2 >"$T/check.json" ||
        fail "$moment: $(cat "$T/check.json")"
done <"$T/moments"
[ "$n" = "$moments" ]

say "a moment before all: 66, with the earliest there is"
expect_exit 66 zl-restore -o "$T/none.db" --at 2001-01-01T00:00:00Z app
expect_grep '20[0-9-]+T' "$ERR"
[ ! -e "$T/none.db" ]

say "a clock that goes back between two runs: sequence and newest state are right"
if command -v faketime >/dev/null; then
    sqlite3 "$DB" 'CREATE TABLE clock(a); INSERT INTO clock VALUES (1)'
    faketime --exclude-monotonic -f '+1h' zl-walship --once "$DB"
    sqlite3 "$DB" 'INSERT INTO clock VALUES (2)'
    once
    restore
    [ "$(sqlite3 "$T/r.db" 'SELECT group_concat(a) FROM clock')" = 1,2 ]
    check_segments
fi
