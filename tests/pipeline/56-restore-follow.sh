#!/bin/bash
# Goal: a copy that follows a live replica is consistent for its readers at any time, survives kill -9 at
# each step, and goes on where it was.
. "$(dirname "$0")/../support/lib.sh"

db=$T/app.db copy=$T/copy.db
sql() { sqlite3 -cmd '.timeout 10000' "$db" "$@" >/dev/null; }
ship() { zl-walship --once "$db"; }
rows='SELECT id, hex(v) FROM t ORDER BY id' # .dump ends with 0 after an error
state() { sqlite3 -cmd '.timeout 10000' "$1" "$rows" | sha256sum; }
follow() { # in the background
    zl-restore --follow --follow-interval 50ms -o "$copy" app 2>"$ERR" &
    pid=$!
    test_pids+=("$pid")
}
stop_following() {
    local code=0
    kill -TERM "$pid"
    wait "$pid" || code=$?
    [ $code = 143 ] || fail "exit $code: $(cat "$ERR")"
    [ -z "$(find "$T" -maxdepth 1 -name '.copy.db.zl-restore')" ] || fail "left its directory"
}
caught_up() { [ -e "$copy" ] && [ "$(state "$copy")" = "$(state "$db")" ]; }

sql 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);
    INSERT INTO t(v) SELECT randomblob(1000) FROM generate_series(1, 300)'
ship

say "from nothing, then each new state"
follow
within 10 caught_up
for i in 1 2 3; do
    sql "INSERT INTO t(v) SELECT randomblob(1000) FROM generate_series(1, 50)"
    ship
    within 10 caught_up
done
expect_exit 75 zl-restore --follow -o "$copy" app
stop_following
[ -z "$(find "$T" -maxdepth 1 -name 'copy.db-*')" ] || fail "left: $(ls "$T")"

say "what happened meanwhile is caught up with"
sql 'DELETE FROM t WHERE id % 2; VACUUM'
ship
sql "INSERT INTO t(v) VALUES('after')"
ship
follow
within 10 caught_up
stop_following
[ "$(sqlite3 "$copy" 'PRAGMA integrity_check')" = ok ]

say "killed at each step: before or after, never between"
for point in follow.journal follow.writing:1 follow.writing:7 follow.written follow.noted follow.applied; do
    before=$(state "$copy")
    sql "UPDATE t SET v = randomblob(1000) WHERE id % 3 = 0; INSERT INTO t(v) VALUES(randomblob(90000))"
    ship
    code=0
    ZL_CRASH_AT=$point zl-restore --follow -o "$copy" app 2>/dev/null || code=$?
    [ $code = 137 ] || fail "$point was never met (exit $code)"
    # A reader that may not write sees a state that was, or is told that it has to wait.
    if sqlite3 -readonly "$copy" "$rows" >"$T/ro" 2>"$T/ro.err"; then
        [[ $(sha256sum <"$T/ro") = "$before" || $(sha256sum <"$T/ro") = "$(state "$db")" ]] ||
            fail "$point: a reader saw something between"
    else
        [ $point != follow.applied ] || fail "no journal, and not readable: $(cat "$T/ro.err")"
        told=1
    fi
    if [ $((RANDOM % 2)) = 0 ]; then # another program rolls back, or we do
        [ "$(sqlite3 "$copy" 'PRAGMA integrity_check')" = ok ] || fail "$point: damaged"
    fi
    follow
    within 10 caught_up
    stop_following
    [ "$(sqlite3 "$copy" 'PRAGMA integrity_check')" = ok ]
done

[ "${told:-}" = 1 ] || fail "no reader met a journal"

say "killed while it is made for the first time"
for point in restore.writing restore.proved restore.installed; do
    rm -f "$copy"*
    code=0
    ZL_CRASH_AT=$point zl-restore --follow -o "$copy" app 2>/dev/null || code=$?
    [ $code = 137 ] || fail "$point was never met (exit $code)"
    follow
    within 10 caught_up
    stop_following
done

say "readers beside a live shipper and a live follower"
sql 'CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO a VALUES(0); INSERT INTO b VALUES(0)'
ship
zl-walship --sync-interval 20ms "$db" &
test_pids+=($!)
walship=$!
follow
has_tables() { sqlite3 "file:$copy?mode=ro" 'SELECT x FROM a' >/dev/null 2>&1; }
within 10 has_tables # t, which caught_up looks at, did not change
(
    seen=0
    while [ ! -e "$T/stop" ]; do
        got=$(sqlite3 -cmd '.timeout 10000' "file:$copy?mode=ro" 'SELECT a.x, b.x FROM a, b')
        [ "${got%|*}" = "${got#*|}" ] || echo "torn: $got" >>"$T/wrong"
        [ "${got%|*}" -ge "$seen" ] || echo "back: $got after $seen" >>"$T/wrong"
        seen=${got%|*}
        ok=$(sqlite3 -cmd '.timeout 10000' "file:$copy?mode=ro" 'PRAGMA quick_check')
        [ "$ok" = ok ] || echo "$ok" >>"$T/wrong"
    done
    echo "$seen" >"$T/seen"
) &
reader=$!
test_pids+=("$reader")
for i in $(seq 60); do
    sql "BEGIN; UPDATE a SET x = $i; UPDATE t SET v = randomblob(1000) WHERE id % 7 = $i % 7;
        UPDATE b SET x = $i; COMMIT"
    sleep 0.03
done
within 20 caught_up
touch "$T/stop"
wait "$reader"
[ ! -e "$T/wrong" ] || fail "$(head -5 "$T/wrong")"
[ "$(cat "$T/seen")" -gt 20 ]
kill -TERM "$walship"
wait "$walship"
stop_following

say "a copy that was written to, or that is none, is refused"
sqlite3 "$copy" "INSERT INTO t(v) VALUES('mine')"
expect_exit 73 zl-restore --follow -o "$copy" app
[ "$(sqlite3 "$copy" "SELECT count(*) FROM t WHERE v = 'mine'")" = 1 ]
echo x >"$T/other"
expect_exit 73 zl-restore --follow -o "$T/other" app
expect_exit 64 zl-restore --follow --force -o "$T/other" app
expect_exit 64 zl-restore --follow --at 2026-01-01T00:00:00Z -o "$T/new" app
