#!/bin/bash
# Goal: `zl-walship DB -- CMD`: restore before it, exit codes, signals, orphans, drain after it.
. "$(dirname "$0")/../support/lib.sh"
command -v sqlite3 >/dev/null || skip "needs sqlite3"

db=$T/data/app.db
mkdir "$T/data"
cd "$T/data"
export db T
sql() { sqlite3 -bail -cmd '.timeout 5000' "$db" "$@"; }
new_db() {
    rm -rf "$db"* "$T/store"
    sql 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
}
restored() { # QUERY -> what a fresh restore answers
    rm -f "$T/restored"*
    zl-restore -o "$T/restored" app && sqlite3 "$T/restored" "$1"
}
# A command that says what signals it gets; ends with 5 on TERM.
cat >"$T/app" <<'END'
#!/bin/bash
for s in HUP INT QUIT USR1 USR2 WINCH; do trap "echo $s >>$T/got" $s; done
trap 'echo TERM >>$T/got; sqlite3 $db "INSERT INTO t VALUES(99)"; exit 5' TERM
echo $$ >$T/ready
while :; do sleep 0.05; done
END
chmod +x "$T/app"
start() { # ARGUMENT...
    rm -f "$T/ready" "$T/got"
    env --default-signal=INT,QUIT zl-walship "$@" 2>"$T/daemon.err" >"$T/daemon.out" &
    daemon=$!
    test_pids+=($daemon)
}
ends() { # EXPECTED-CODE
    local got=0
    wait $daemon || got=$?
    [ $got = "$1" ] || fail "exit $got, expected $1: $(cat "$T/daemon.err")"
}
got() { [ "$(cat "$T/got" 2>/dev/null | tr "\n" " ")" = "$*" ]; }

say "the exit code is the command's; stdin, stdout, stderr, environment and directory are ours"
new_db
for code in 0 1 7 66 75; do expect_exit $code zl-walship "$db" -- sh -c "exit $code"; done
expect_exit 143 zl-walship "$db" -- sh -c 'kill -TERM $$'
expect_exit 137 zl-walship "$db" -- sh -c 'kill -KILL $$'
expect_exit 127 zl-walship "$db" -- no-such-command
expect_grep 'run no-such-command: no such file' "$ERR"
expect_exit 126 zl-walship "$db" -- "$T/data"
echo in | X=y expect_exit 0 zl-walship "$db" -- sh -c 'read a; echo "$a $X $PWD $1"; echo err >&2' x --once
[ "$(cat "$OUT")" = "in y $T/data --once" ] || fail "$(cat "$OUT")"
[ "$(cat "$ERR")" = err ] || fail "$(cat "$ERR")"

say "what the command commits last is in the store when it has ended"
for i in {2..6}; do
    expect_exit 0 zl-walship "$db" -- sqlite3 "$db" "INSERT INTO t VALUES($i)"
    [ "$(restored 'SELECT max(a) FROM t')" = $i ] || fail "$i is not in the store"
done

say "signals are passed on, also those that mean something to others"
start "$db" -- "$T/app"
within 10 test -s "$T/ready"
expected=
for s in HUP INT QUIT USR1 USR2 WINCH; do
    kill -$s $daemon
    expected="$expected$s "
    within 5 got "$expected"
done
kill -TERM $daemon
ends 5
got "${expected}TERM " || fail "$(cat "$T/got")"
[ "$(restored 'SELECT max(a) FROM t')" = 99 ] || fail "what was committed while stopping is lost"
expect_empty "$T/daemon.err"

say "restored before the command starts; absent without a backup it starts at once"
rm -f "$db" "$db"-*
expect_exit 0 zl-walship "$db" -- sqlite3 "$db" 'SELECT max(a) FROM t'
[ "$(cat "$OUT")" = 99 ] || fail "$(cat "$OUT")"
rm -rf "$db"*
expect_exit 0 zl-walship "$db" -- sqlite3 "$db" 'SELECT max(a) FROM t' # the cache is lost too
[ "$(cat "$OUT")" = 99 ] || fail "$(cat "$OUT")"
rm -rf "$db"*
expect_exit 3 zl-walship --no-auto-restore --name other "$db" -- sh -c '[ ! -e $db ] && exit 3'
rm -rf "$db"* "$T/store"
expect_exit 4 zl-walship "$db" -- sh -c '[ ! -e $db ] && exit 4'

say "database lost, cache not: what waits in it is sent before the restore"
new_db
start --sync-interval 50ms "$db" -- "$T/app"
within 10 test -s "$T/ready"
expect_exit 0 zl-walship --flush "$db"
mv "$T/store" "$T/away"
: >"$T/store" # no store can be there
sql 'INSERT INTO t VALUES(42)'
pending() { zl-walship --status --json "$db" 2>/dev/null | jq -e '.pending_segments > 0' >/dev/null; }
within 10 pending
kill -KILL "$(cat "$T/ready")" $daemon
wait $daemon 2>/dev/null || true
rm "$T/store" "$db" "$db"-*
mv "$T/away" "$T/store"
expect_exit 0 zl-walship "$db" -- sqlite3 "$db" 'SELECT max(a) FROM t'
[ "$(cat "$OUT")" = 42 ] || fail "restored without the segments in the cache: $(cat "$OUT")"

say "no database yet: waiting, then shipped; also if it is made just before the end"
rm -rf "$db"* "$T/store"
start "$db" -- sh -c 'trap "exit 0" TERM; while [ ! -e $T/make ]; do sleep 0.05; done
    sqlite3 $db "PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)"; touch $T/made
    while :; do sleep 0.05; done'
waiting() { zl-walship --status "$db" 2>/dev/null | grep -qE '^state: +waiting$'; }
streaming() { zl-walship --status "$db" 2>/dev/null | grep -qE '^state: +streaming$'; }
within 10 waiting
touch "$T/make"
within 10 streaming
expect_exit 0 zl-walship --flush "$db"
[ "$(restored 'SELECT max(a) FROM t')" = 1 ] || fail "not shipped"
kill $daemon
ends 0
rm -rf "$db"* "$T/store"
expect_exit 0 zl-walship "$db" -- sh -c 'exec sqlite3 $db "PRAGMA journal_mode=wal; CREATE TABLE t(a);
    INSERT INTO t VALUES(8)"'
[ "$(restored 'SELECT max(a) FROM t')" = 8 ] || fail "made and ended at once: not shipped"

say "the store cannot be asked: an absent database is not begun anew, the command not started"
new_db
expect_exit 0 zl-walship --once "$db"
rm -rf "$db"*
down='s3://b?endpoint=http://127.0.0.1:1&region=x'
expect_exit 77 zl-walship --store "$down" "$db" -- touch "$T/started" # no credentials
export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x
expect_exit 75 zl-walship --store "$down" --retry-for 1s "$db" -- touch "$T/started"
[ ! -e "$T/started" ] || fail "started"
mkdir "$T/wrong"
if [ "$(id -u)" != 0 ]; then
    chmod 0 "$T/wrong"
    expect_exit 77 zl-walship --store "$T/wrong" "$db" -- touch "$T/started"
    [ ! -e "$T/started" ] || fail "started"
fi
echo junk >"$(find "$T/store/db/app/snapshots" -type f -name '*.zst' | tail -1)"
expect_exit 65 zl-walship "$db" -- touch "$T/started"
[ ! -e "$T/started" ] || fail "started in spite of a corrupt backup"
[ ! -e "$db" ] || fail "an empty database was made"

say "another's NAME: 76, the command is not started; --take-over starts it"
new_db
expect_exit 0 zl-walship --once "$db"
mkdir "$T/other"
sqlite3 "$T/other/app.db" 'PRAGMA journal_mode=wal; CREATE TABLE u(a)' >/dev/null
expect_exit 76 zl-walship "$T/other/app.db" -- touch "$T/started"
expect_grep 'take-over' "$ERR"
[ ! -e "$T/started" ] || fail "started"
expect_exit 0 zl-walship --take-over "$T/other/app.db" -- touch "$T/started"
[ -e "$T/started" ] || fail "not started"

say "taken over while the command runs: it runs on, status and end say so; or it is ended"
new_db
start --sync-interval 100ms "$db" -- "$T/app"
within 10 streaming
expect_exit 0 zl-walship --flush "$db"
rm -rf "$T/other/app.db.zl"
expect_exit 0 zl-walship --take-over --once "$T/other/app.db"
sql 'INSERT INTO t VALUES(2)'
fenced() {
    zl-walship --status "$db" >"$OUT" 2>/dev/null || true
    grep -qE '^state: +fenced$' "$OUT"
}
within 10 fenced
expect_exit 1 zl-walship --status "$db"
expect_grep '^state: +fenced$' "$OUT"
expect_exit 76 zl-walship --flush "$db"
kill -0 $daemon
kill -0 "$(cat "$T/ready")" || fail "the command was ended"
kill $daemon
ends 5
expect_grep 'runs on, and is not replicated' "$T/daemon.err"
new_db
start --on-replication-failure=stop --sync-interval 100ms "$db" -- "$T/app"
within 10 streaming
expect_exit 0 zl-walship --flush "$db"
rm -rf "$T/other/app.db.zl"
expect_exit 0 zl-walship --take-over --once "$T/other/app.db"
sql 'INSERT INTO t VALUES(2)'
ends 76
got 'TERM ' || fail "$(cat "$T/got")"

say "the drain fails: 75 after a command that ended well, else the command's code"
new_db
python3 - "$T/port" <<'END' &
# A store that takes connections and never answers.
import socket, sys
s = socket.socket()
s.bind(('127.0.0.1', 0))
s.listen(50)
open(sys.argv[1], 'w').write(str(s.getsockname()[1]))
held = []
while True:
    held.append(s.accept())
END
test_pids+=($!)
disown
within 5 test -s "$T/port"
dead="s3://b?endpoint=http://127.0.0.1:$(cat "$T/port")&region=x"
for store in "$down" "$dead"; do
    rm -rf "$db.zl"
    SECONDS=0
    expect_exit 75 zl-walship --store "$store" --retry-for 1s --drain-timeout 2s "$db" -- true
    expect_grep 'not all was sent within 2.0s' "$ERR"
    [ $SECONDS -lt 50 ] || fail "took $SECONDS s"
done
rm -rf "$db.zl"
expect_exit 9 zl-walship --store "$down" --retry-for 1s --drain-timeout 1s "$db" -- sh -c 'exit 9'
expect_grep 'not all was sent within 1.0s' "$ERR"

say "a second signal while it drains ends it at once; nothing is lost"
rm -rf "$db.zl"
start --store "$dead" --retry-for 1s --drain-timeout 60s "$db" -- "$T/app"
within 60 test -s "$T/ready"
kill $daemon
gone() { ! kill -0 "$1" 2>/dev/null; }
within 5 gone "$(cat "$T/ready")"
sleep 0.3
kill -0 $daemon || fail "did not drain"
SECONDS=0
kill $daemon
ends 5
[ $SECONDS -le 3 ] || fail "took $SECONDS s"
rm -rf "$T/store"
rm -rf "$db.zl"
expect_exit 0 zl-walship --once "$db"
[ "$(restored 'SELECT max(a) FROM t')" = 99 ] || fail "lost"

say "without a command too: 143, and the next run ships the rest"
start --store "$down" --retry-for 1s --drain-timeout 60s --cache-dir "$T/cache2" "$db"
within 10 test -S "$T/cache2/control"
sleep 2
kill $daemon
sleep 0.5
kill -0 $daemon || fail "did not drain"
kill $daemon
ends 143

say "orphans come to us and are reaped"
new_db
expect_exit 0 zl-walship "$db" -- sh -c '
    (sh -c "sleep 0.3; ps -o ppid= -p \$\$ >$T/parent; touch $T/told" &)
    while [ ! -e $T/told ]; do sleep 0.05; done; sleep 0.3; echo $PPID >$T/shipper; ps -o stat= --ppid $PPID >$T/children'
[ "$(tr -d ' ' <"$T/parent")" = "$(cat "$T/shipper")" ] || fail "the orphan went elsewhere"
expect_no_grep Z "$T/children"

if [ "$(id -u)" = 0 ] && unshare -pf --mount-proc true 2>/dev/null; then
    say "as process 1 of a container: signals, reaping, exit code"
    for i in 1 2 3; do
        rm -f "$T/ready" "$T/got"
        unshare -pf --mount-proc zl-walship "$db" -- sh -c \
            '[ $PPID = 1 ] || exit 8
             for i in 1 2 3; do (sh -c "sleep 0.1" &); done; sleep 0.4
             ps -eo stat= | grep -c Z >$T/zombies
             exec $T/app' 2>"$T/daemon.err" &
        daemon=$!
        within 10 test -s "$T/ready"
        init=$(pgrep -P $daemon)
        kill -TERM "$init" # from outside, as a container engine does
        ends 5
        [ "$(cat "$T/zombies")" = 0 ] || fail "zombies: $(cat "$T/zombies")"
    done
    expect_exit 143 unshare -pf --mount-proc zl-walship "$db" -- sh -c 'kill -TERM $$'
    expect_exit 127 unshare -pf --mount-proc zl-walship "$db" -- no-such-command
fi

say "at a terminal: the command is in its foreground, Ctrl-C reaches it, Ctrl-Z stops and fg continues"
cat >"$T/tty-app" <<'END'
#!/bin/bash
trap "echo GOT-INT; exit 4" INT
echo READY
read -r line
echo "READ $line"
while :; do sleep 0.1; done
END
chmod +x "$T/tty-app"
cat >"$T/terminal.py" <<'END'
import os, pty, signal, sys, time
db = os.environ['db']
pid, fd = pty.fork()
if pid == 0:
    os.environ['PS1'] = '$ '
    os.execvp('bash', ['bash', '--norc', '-i'])
seen = b''
def wait_for(text, seconds=20):
    global seen
    end = time.time() + seconds
    os.set_blocking(fd, False)
    while time.time() < end:
        try:
            seen += os.read(fd, 4096)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            break
        if text in seen:
            seen = seen[seen.index(text) + len(text):]
            return
    sys.exit(f'no {text!r} in {seen!r}')
def type_(text):
    os.write(fd, text)
type_(f'zl-walship {db} -- {os.environ["T"]}/tty-app\n'.encode())
wait_for(b'READY')
type_(b'hello\n')
wait_for(b'READ hello')
type_(b'\x1a')
wait_for(b'Stopped')
type_(b'echo pro\\mpt\n')
wait_for(b'prompt')
type_(b'fg\n')
time.sleep(0.5)
type_(b'\x03')
wait_for(b'GOT-INT')
type_(b'echo code=$?\n')
wait_for(b'code=4')
type_(b'exit\n')
END
timeout 60 python3 "$T/terminal.py"
