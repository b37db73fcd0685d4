#!/bin/bash
# Goal: the shipper is harmless to the application (W3, W4), seen from outside with strace: it writes into
# the database only inside its own checkpoint, it never closes a descriptor of the database or its -shm
# while it works (POSIX would drop every lock of the process), and its read lock is always held but
# between the release and the new read of a checkpoint, while the write lock is held.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
command -v strace >/dev/null || skip "needs strace"

new_db
sqlite3 "$DB" 'CREATE TABLE x(a); INSERT INTO x VALUES (randomblob(9000000))'
strace -f -yy -qq -e trace=openat,close,pwrite64,write,fcntl,ftruncate,unlink,rename -o "$T/trace" \
    zl-walship --sync-interval 20ms --snapshot-interval 2s "$DB" 2>"$T/ship.err" &
tracer=$!
test_pids+=("$tracer")
within 30 zl-walship -q --flush "$DB" 2>/dev/null
walwriter write "$DB" --rate 300 --seconds 6 --size 4000 --log "$T/log" >/dev/null
zl-walship --flush "$DB"
pkill -TERM -P $tracer
wait $tracer || fail "$(cat "$T/ship.err")"
check_same

python3 "$support/locktrace.py" "$T/trace" "$DB"
