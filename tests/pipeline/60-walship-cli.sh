#!/bin/bash
# Goal: what zl-walship says and how it ends: usage, lock, --once, --flush, --status, metrics, drain.
. "$(dirname "$0")/../support/lib.sh"
command -v sqlite3 >/dev/null || skip "needs sqlite3"

db=$T/data/app.db
mkdir "$T/data"
cd "$T/data"
sql() { sqlite3 -bail -cmd '.timeout 5000' "$db" "$@"; }
make_db() {
    rm -rf "$db"*
    sql 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
}
start() { # [OPTION]...
    # A script's background jobs ignore SIGINT, and what is ignored stays so.
    env --default-signal=INT zl-walship "$@" "$db" 2>"$T/daemon.err" &
    daemon=$!
    test_pids+=($daemon)
}
streaming() { zl-walship --status --json "$db" 2>/dev/null | jq -e '.state == "streaming"' >/dev/null; }
stop() { # SIGNAL EXPECTED-CODE
    local got=0
    kill "-$1" $daemon
    wait $daemon || got=$?
    [ $got = "$2" ] || fail "exit $got, expected $2: $(cat "$T/daemon.err")"
}
restored() { # QUERY -> what a fresh restore answers
    rm -f "$T/restored"*
    zl-restore -o "$T/restored" app && sqlite3 "$T/restored" "$1"
}

say "usage errors"
expect_exit 64 zl-walship
expect_exit 64 zl-walship a.db b.db
expect_exit 64 zl-walship --once --flush a.db
expect_exit 64 zl-walship --status a.db -- true
expect_exit 64 zl-walship --once --wait a.db
expect_exit 64 zl-walship --max-lag 1s a.db
expect_exit 64 zl-walship --max-wal much a.db
expect_exit 64 zl-walship --retain never a.db
expect_exit 64 zl-walship --on-replication-failure=restart a.db
expect_exit 64 zl-walship a.db --
expect_exit 64 zl-walship "$T/data"
expect_exit 64 zl-walship --name ../x a.db
expect_exit 64 zl-walship --name '' a.db
expect_exit 64 zl-walship .hidden
expect_grep '^hint: say --name NAME' "$ERR"
expect_exit 0 zl-walship --print-config --max-wal none --retain off
expect_grep '^max-wal = none ' "$OUT"
expect_grep '^retain = off ' "$OUT"
expect_grep '^auto-restore = true ' "$OUT"
ZL_MAX_WAL=junk expect_exit 78 zl-walship --print-config

say "neither database nor backup: 66, and nothing is left behind"
for mode in --once --flush --status; do expect_exit 66 zl-walship $mode "$db"; done
expect_exit 66 zl-walship "$db"
expect_grep '^hint: .*--wait' "$ERR"
expect_exit 66 zl-walship "$T/nowhere/app.db"
: >"$db"
expect_exit 66 zl-walship "$db" # empty is absent
rm "$db"
[ -z "$(ls -A)" ] || fail "left: $(ls -A)"

say "--once ships what is committed, silently"
make_db
expect_exit 0 zl-walship --once "$db"
expect_empty "$OUT"
expect_empty "$ERR"
[ "$(restored 'SELECT * FROM t')" = 1 ] || fail "not restored"
sql 'INSERT INTO t VALUES(2)'
expect_exit 0 zl-walship --once "$db"
[ "$(restored 'SELECT max(a) FROM t')" = 2 ] || fail "the second run shipped nothing"
[ "$(stat -c %a "$db.zl")" = 700 ] || fail "mode of the cache directory"
expect_exit 75 zl-walship --flush "$db"
expect_grep '^hint: --once' "$ERR"

say "--status of one that does not run: 1"
expect_exit 1 zl-walship --status "$db"
expect_grep '^state: +stopped$' "$OUT"
expect_grep '^durable: +sequence [1-9]' "$OUT"
expect_exit 1 zl-walship --status --json "$db"
jq -e '.running == false and .durable_sequence >= 2 and .name == "app"' "$OUT" >/dev/null ||
    fail "$(cat "$OUT")"

say "one that runs: --status 0, one shipper only"
start --metrics "$T/metrics"
within 10 streaming
expect_exit 0 zl-walship --status --max-lag 1m "$db"
expect_grep '^state: +streaming$' "$OUT"
expect_empty "$ERR"
for mode in '' --once; do
    expect_exit 75 zl-walship $mode "$db"
    expect_grep "another zl-walship \(pid $daemon\) ships" "$ERR"
    expect_grep '^hint: --flush' "$ERR"
done
ln -s "$db" "$T/link.db"
expect_exit 75 zl-walship "$T/link.db" # by whatever name

say "--flush makes durable what was committed before"
for i in 3 4 5; do
    sql "INSERT INTO t VALUES($i)"
    expect_exit 0 zl-walship --flush --timeout 20s "$db"
    expect_empty "$OUT"
    [ "$(restored 'SELECT max(a) FROM t')" = $i ] || fail "$i is not in the store"
done
expect_exit 0 zl-walship --flush --json "$db"
jq -e '.durable_sequence >= 5' "$OUT" >/dev/null || fail "$(cat "$OUT")"

say "several clients at once"
pids=()
for i in {1..20}; do
    zl-walship --flush --timeout 20s "$db" &
    pids+=($!)
    zl-walship --status "$db" >/dev/null &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done

say "the metrics of one that runs, which --status and --flush do not overwrite"
ZL_METRICS=$T/metrics expect_exit 0 zl-walship --status "$db"
expect_grep '^zl_walship_running\{tool="zl-walship",name="app"\} 1$' "$T/metrics"
expect_grep '^zl_walship_state\{.*state="(starting|streaming)"\} 1$' "$T/metrics"
expect_no_grep '^zl_last_exit_code' "$T/metrics"

say "SIGUSR1 prints one line; SIGTERM drains: 0, no lock, no socket"
kill -USR1 $daemon
within 5 grep -q 'app: streaming, sequence [0-9]* durable' "$T/daemon.err"
sql 'INSERT INTO t VALUES(6)'
stop TERM 0
[ "$(wc -l <"$T/daemon.err")" = 1 ] || fail "$(cat "$T/daemon.err")"
[ ! -e "$db.zl/control" ] || fail "the socket is left"
[ "$(restored 'SELECT max(a) FROM t')" = 6 ] || fail "not drained"
expect_grep '^zl_walship_running\{.*\} 0$' "$T/metrics"
expect_grep '^zl_last_exit_code\{.*\} 0$' "$T/metrics"
expect_grep '^zl_walship_durable_sequence\{.*\} [1-9]' "$T/metrics"
if command -v promtool >/dev/null; then promtool check metrics <"$T/metrics"; fi
start
within 10 streaming
stop INT 0

say "killed: the next one replaces lock and socket"
start
within 10 streaming
kill -KILL $daemon
wait $daemon 2>/dev/null || true
[ -S "$db.zl/control" ] || fail "expected a stale socket"
expect_exit 1 zl-walship --status "$db"
expect_exit 75 zl-walship --flush "$db"
start
within 10 streaming
stop TERM 0

say "a long path, a socket all the same"
long=$T/$(printf 'x%.0s' {1..90})/$(printf 'y%.0s' {1..90})
mkdir -p "$long"
sqlite3 "$long/z.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
zl-walship "$long/z.db" &
daemon=$!
test_pids+=($daemon)
within 10 zl-walship --flush "$long/z.db" 2>/dev/null
stop TERM 0

say "--wait waits; ended meanwhile there is nothing to drain"
rm -rf "$db"* "$T/store"
start --wait
within 10 test -S "$db.zl/control"
expect_exit 0 zl-walship --status "$db"
expect_grep '^state: +waiting$' "$OUT"
expect_exit 75 zl-walship --flush "$db"
expect_grep 'waiting' "$ERR"
stop TERM 0
start --wait
within 10 test -S "$db.zl/control"
make_db_here=$(sql 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(7)')
[ "$make_db_here" = wal ] || fail "no WAL"
within 10 streaming
expect_exit 0 zl-walship --flush "$db"
[ "$(restored 'SELECT max(a) FROM t')" = 7 ] || fail "what was made while waiting is not stored"
stop TERM 0

say "a database that is not in WAL mode: 64 with the way out, then --enable-wal"
sqlite3 "$T/data/old.db" 'CREATE TABLE t(a)'
expect_exit 64 zl-walship --once "$T/data/old.db"
expect_grep 'enable-wal' "$ERR"
expect_exit 0 zl-walship --once --enable-wal "$T/data/old.db"
[ "$(sqlite3 "$T/data/old.db" 'PRAGMA journal_mode')" = wal ] || fail "not switched"
head -c 9000 /dev/urandom >"$T/data/junk.db"
expect_exit 65 zl-walship --once "$T/data/junk.db"

say "locked exclusively by another: status says blocked, SIGTERM 75, and it goes on when free"
python3 - "$T/data/old.db" "$T/unlock" >"$T/locked" <<'END' &
import os, sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('PRAGMA locking_mode=exclusive')
c.execute('BEGIN IMMEDIATE')
c.execute('INSERT INTO t VALUES(1)')
c.execute('COMMIT')
print('locked', flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.05)
END
test_pids+=($!)
within 10 grep -q locked "$T/locked"
db=$T/data/old.db
blocked() { zl-walship --status "$db" 2>/dev/null | grep -qE '^state: +blocked$'; }
start
within 20 blocked
stop TERM 75
start
within 20 blocked
touch "$T/unlock"
within 20 streaming
stop TERM 0
