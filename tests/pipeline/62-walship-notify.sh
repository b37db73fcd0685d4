#!/bin/bash
# Goal: what a service manager is told: READY after the restore, STATUS, WATCHDOG, STOPPING.
. "$(dirname "$0")/../support/lib.sh"
command -v sqlite3 >/dev/null || skip "needs sqlite3"

db=$T/app.db
cat >"$T/manager.py" <<'END'
# Writes each datagram as one line, fields separated by blanks.
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = sys.argv[1]
s.bind('\0' + address[1:] if address[0] == '@' else address)
with open(sys.argv[2], 'w') as log:
    while True:
        log.write(s.recv(65536).decode().replace('\n', ' ') + '\n')
        log.flush()
END
manager() { # ADDRESS
    rm -f "$T/log"
    python3 "$T/manager.py" "$1" "$T/log" &
    test_pids+=($!)
    disown
    within 5 test -e "$T/log"
}
told() { grep -qE "$1" "$T/log"; }
line() { grep -nE "$1" "$T/log" | head -1 | cut -d: -f1; }
new_db() {
    rm -rf "$db"* "$T/store"
    sqlite3 "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
}

for address in "$T/notify" "@zl-test-$$"; do
    say "$address: READY, STATUS, STOPPING, in that order"
    new_db
    manager "$address"
    NOTIFY_SOCKET=$address zl-walship "$db" &
    daemon=$!
    test_pids+=($daemon)
    within 10 told 'READY=1'
    [ -S "$db.zl/control" ] || fail "ready before --flush can reach it"
    within 10 told 'STATUS=app: streaming, sequence 1 durable'
    expect_no_grep WATCHDOG "$T/log"
    kill $daemon
    wait $daemon
    within 5 told '^STOPPING=1'
    [ "$(line READY=1)" -lt "$(line STOPPING=1)" ] || fail "$(cat "$T/log")"
    [ "$(grep -c READY=1 "$T/log")" = 1 ] || fail "ready more than once"
done

say "the watchdog is fed in time, while it is meant for us"
manager "$T/watchdog"
NOTIFY_SOCKET=$T/watchdog WATCHDOG_USEC=600000 zl-walship "$db" &
daemon=$!
test_pids+=($daemon)
within 10 told READY=1
sleep 2
[ "$(grep -c WATCHDOG=1 "$T/log")" -ge 6 ] || fail "$(cat "$T/log")"
kill $daemon
wait $daemon
manager "$T/watchdog2"
NOTIFY_SOCKET=$T/watchdog2 WATCHDOG_USEC=600000 WATCHDOG_PID=1 zl-walship "$db" -- sleep 1
expect_no_grep WATCHDOG "$T/log"

say "with a command: ready when it runs, and it sees the same environment"
manager "$T/command"
NOTIFY_SOCKET=$T/command expect_exit 0 zl-walship "$db" -- sh -c "echo \$NOTIFY_SOCKET
    while ! grep -q READY=1 $T/log; do sleep 0.05; done; ! grep -q STOPPING $T/log"
[ "$(cat "$OUT")" = "$T/command" ] || fail "$(cat "$OUT")"
within 5 told '^STOPPING=1'

say "not ready before the restore is through: more time is asked for"
rm "$db"*-* 2>/dev/null || true
rm -rf "$db" "$db.zl"
manager "$T/restore"
NOTIFY_SOCKET=$T/restore zl-walship "$db" &
daemon=$!
test_pids+=($daemon)
within 10 told READY=1
[ -e "$db" ] || fail "ready without a database"
expect_grep EXTEND_TIMEOUT_USEC= "$T/log"
[ "$(line EXTEND_TIMEOUT_USEC)" -lt "$(line READY=1)" ] || fail "$(cat "$T/log")"
kill $daemon
wait $daemon

say "refused before it was ready: no READY at all"
mkdir "$T/other"
sqlite3 "$T/other/app.db" 'PRAGMA journal_mode=wal; CREATE TABLE u(a)' >/dev/null
manager "$T/refused"
NOTIFY_SOCKET=$T/refused expect_exit 76 zl-walship "$T/other/app.db"
expect_no_grep READY "$T/log"

say "nobody listens: no matter"
for address in "$T/nobody" "@zl-test-nobody-$$" relative vsock:2:1 ''; do
    NOTIFY_SOCKET=$address expect_exit 0 zl-walship "$db" -- true
    expect_empty "$ERR"
done
