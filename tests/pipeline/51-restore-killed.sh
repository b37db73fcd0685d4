#!/bin/bash
# Goal: killed anywhere, a restore leaves FILE as it was or complete, and the next run completes it.
. "$(dirname "$0")/../support/lib.sh"

db=$T/app.db
sqlite3 "$db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);
    INSERT INTO t(v) SELECT randomblob(3000) FROM generate_series(1, 2000)' >/dev/null
zl-walship --once "$db"
for i in 1 2 3; do
    sqlite3 "$db" "UPDATE t SET v = randomblob(3000) WHERE id % 100 = $i" >/dev/null
    zl-walship --once "$db"
done
zl-restore -o "$T/want" app
dir=$T/place
mkdir "$dir"
file=$dir/app.db

say "at each step, into an empty place"
for point in restore.fetched restore.writing restore.proved restore.installed; do
    rm -rf "$dir"
    mkdir "$dir"
    code=0
    ZL_CRASH_AT=$point zl-restore -o "$file" app 2>/dev/null || code=$?
    [ $code = 137 ] || fail "$point was never met (exit $code)"
    if [ $point = restore.installed ]; then
        cmp "$file" "$T/want"
        expect_exit 73 zl-restore -o "$file" app
    else
        [ ! -e "$file" ] || fail "$point: $file is there"
        zl-restore -o "$file" app
    fi
    cmp "$file" "$T/want"
    [ $point = restore.installed ] || [ "$(ls -A "$dir")" = app.db ] || fail "left: $(ls -A "$dir")"
done

say "at each step, over an existing database"
make_old() {
    rm -rf "$dir"
    mkdir "$dir"
    sqlite3 "$file" "PRAGMA journal_mode=WAL; CREATE TABLE old(x); INSERT INTO old VALUES('kept');" \
        ".dbconfig no_ckpt_on_close on" "INSERT INTO old VALUES('in the WAL')" >/dev/null
    [ -s "$file-wal" ] || fail "no WAL to move"
}
for point in restore.fetched restore.proved restore.moved:1 restore.moved:2 restore.installed; do
    make_old
    code=0
    ZL_CRASH_AT=$point zl-restore --force -o "$file" app 2>/dev/null || code=$?
    [ $code = 137 ] || fail "$point was never met (exit $code)"
    case $point in
    restore.fetched | restore.proved) # untouched
        [ "$(sqlite3 "$file" 'SELECT count(*) FROM old')" = 2 ] ;;
    restore.moved*) # no database without its WAL at that place
        [ ! -e "$file" ] || fail "$point: $file is there" ;;
    restore.installed) cmp "$file" "$T/want" ;;
    esac
    zl-restore --force -o "$file" app 2>/dev/null
    cmp "$file" "$T/want"
    # What was there can be had: the database, and its WAL under a name that begins like it or, when
    # the kill came between the two, beside it.
    old=$(find "$dir" -name 'app.db.before-restore-*Z' | sort | head -1)
    [ -n "$old" ] || fail "$point: the old database is gone"
    wal=$(find "$dir" -name 'app.db.before-restore-*Z-wal')
    [ -z "$wal" ] || [ "$wal" = "$old-wal" ] || mv "$wal" "$old-wal"
    [ "$(sqlite3 "$old" 'SELECT count(*) FROM old')" = 2 ] || fail "$point: old data is lost"
done

say "at random moments"
for i in $(seq 40); do
    rm -rf "$dir"
    mkdir "$dir"
    zl-restore -o "$file" app 2>/dev/null &
    sleep "0.0$((RANDOM % 90 + 10))"
    kill -KILL $! 2>/dev/null || true
    wait $! 2>/dev/null || true # its lock is gone with it
    [ ! -e "$file" ] || cmp "$file" "$T/want"
    [ -e "$file" ] || zl-restore -o "$file" app
    cmp "$file" "$T/want"
done

say "SIGTERM: 143, and nothing left"
rm -rf "$dir"
mkdir "$dir"
coproc mute { exec python3 -u -c '
import socket, time
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1])
time.sleep(600)'; }
test_pids+=("$mute_PID")
read -r port <&"${mute[0]}"
AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=y zl-restore -o "$file" \
    --store "s3://b/r?endpoint=http://127.0.0.1:$port&region=us-east-1" app 2>"$ERR" &
pid=$!
test_pids+=("$pid")
within 5 test -e "$dir/.app.db.zl-restore/lock"
kill -TERM "$pid"
code=0
wait "$pid" || code=$?
[ $code = 143 ] || fail "exit $code"
[ -z "$(ls -A "$dir")" ] || fail "left: $(ls -A "$dir")"

say "two at once: the second says 75"
mkdir "$dir/.app.db.zl-restore"
(
    flock 9
    expect_exit 75 zl-restore -o "$file" app
) 9>"$dir/.app.db.zl-restore/lock"
expect_grep 'another zl-restore of .* is running' "$ERR"
zl-restore -o "$file" app
cmp "$file" "$T/want"
[ "$(ls -A "$dir")" = app.db ]
