#!/bin/bash
# Goal: every exit code that a manual names is reached by its tool, and a tool reaches none that its
# manual does not name. (What each failure says: 07-exit-codes.sh and the tests of the tools.)
. "$(dirname "$0")/../support/lib.sh"
need_root "another user, a small file system"

man=$support/../../man
# gives CODE TOOL [ARG]...: one row of the table; under a name in front, such as as_user, a function.
gives() {
    local code=$1 word
    shift
    expect_exit "$code" "$@"
    for word; do [[ $word != zl-* ]] || { echo "${word##*/} $code" >>"$T/reached"; break; }; done
}
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups -- env ZL_STATE_DIR="$T/user/state" "$@"; }
# killed_by SIGNAL TOOL [ARG]...: stopped while it waits for stdin or the store.
killed_by() {
    local signal=$1 pid code=0
    shift
    "$@" <"$T/fifo" >/dev/null 2>&1 &
    pid=$!
    exec 7>"$T/fifo"
    within 10 grep -q 'SigCgt:.*[1-9a-f]' "/proc/$pid/status"
    sleep 0.3
    kill "-$signal" $pid
    wait $pid || code=$?
    exec 7>&-
    [ $code = $((128 + $(kill -l "$signal"))) ] || fail "$1 after SIG$signal: exit $code"
    echo "$1 128+n" >>"$T/reached"
}

mkfifo "$T/fifo"
mkdir -m 700 "$T/roots"
mkdir "$T/user" "$T/small" "$T/full"
touch "$T/full/x"
chown 1000:1000 "$T/user"
mktree --only small "$T/tree"
zl-pack "$T/tree" >"$T/layer"
head -c 3000 "$T/layer" >"$T/cut"
cp -r "$T/tree" "$T/part"
touch "$T/part/secret"
chmod 755 "$T/part"
chmod 600 "$T/part/secret"
echo 'nonsense = 1' >"$T/bad.conf"
mount -t tmpfs -o size=64k,mode=777 none "$T/small"
# A server that is not there, and one that we have no credentials for.
away="s3://bucket?endpoint=http://127.0.0.1:9"
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
keys=(env AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b)

say "zl-pack"
gives 0 zl-pack "$T/tree"
gives 3 as_user zl-pack "$T/part"
cp "$OUT" "$T/part.layer"
gives 64 zl-pack
mkdir "$T/wh"
touch "$T/wh/.wh.file"
gives 65 zl-pack "$T/wh"
gives 66 zl-pack "$T/nothing"
gives 73 zl-pack -o "$T/full/x/file" "$T/tree"
gives 74 bash -c 'exec "$@" >/dev/full' - zl-pack "$T/tree"
mkdir "$T/noise"
head -c 3000000 /dev/urandom >"$T/noise/noise"
zl-pack -o "$T/noise.layer" "$T/noise"
gives 75 bash -c '"$@" | sleep 1; exit ${PIPESTATUS[0]}' - zl-pack --timeout 200ms "$T/noise" # nobody reads
mkdir "$T/upper"
mknod "$T/upper/gone" c 0 0
gives 77 as_user zl-pack "$T/upper"
gives 78 zl-pack --config "$T/bad.conf" "$T/tree"
gives 141 bash -c '"$@" | head -c 100 >/dev/null; exit ${PIPESTATUS[0]}' - zl-pack "$T/noise"

say "zl-push"
gives 0 zl-push --name web1 <"$T/layer"
gives 0 zl-push --name noise <"$T/noise.layer"
gives 3 zl-push --name part <"$T/part.layer"
gives 64 zl-push --jobs 0 <"$T/layer"
gives 65 zl-push --name web1 <"$T/cut"
gives 66 zl-push --name web1 -- "$T/nothing"
gives 73 zl-push --spool-dir "$T/full/x/spool" --name web1 <"$T/layer"
gives 74 zl-push --spool-dir "$T/small/spool" --name web1 <"$T/noise.layer"
gives 75 "${keys[@]}" zl-push --retry-for 100ms --store "$away" --name web1 <"$T/layer"
gives 77 zl-push --store "$away" --name web1 <"$T/layer"
gives 78 zl-push --config "$T/bad.conf" <"$T/layer"
killed_by TERM zl-push --name web1

say "zl-pull"
gives 0 zl-pull web1
gives 3 zl-pull part
gives 64 zl-pull
damaged=$(zl-pack "$T/upper" | zl-push --name damaged)
printf x | dd of="$T/store/layers/${damaged#sha256:}.tar.zst" bs=1 seek=20 conv=notrunc status=none
gives 65 zl-pull damaged
gives 66 zl-pull nobody
gives 73 zl-pull -o "$T/full/x/file" web1
gives 74 bash -c 'exec "$@" >/dev/full' - zl-pull web1
gives 75 "${keys[@]}" zl-pull --retry-for 100ms --store "$away" web1
gives 77 zl-pull --store "$away" web1
gives 78 zl-pull --config "$T/bad.conf" web1
gives 141 bash -c '"$@" | head -c 100 >/dev/null; exit ${PIPESTATUS[0]}' - zl-pull noise

say "zl-unpack"
gives 0 zl-unpack -C "$T/out" <"$T/layer"
mkdir "$T/incomplete"
touch "$T/incomplete/.zl-incomplete"
gives 1 zl-unpack --check -C "$T/incomplete"
gives 3 as_user zl-unpack -C "$T/user/out" <"$T/layer"
gives 64 zl-unpack <"$T/layer"
gives 65 zl-unpack -C "$T/new" <"$T/cut"
gives 66 zl-unpack -C "$T/new" no/such/path <"$T/layer"
gives 73 zl-unpack -C "$T/full" <"$T/layer"
gives 74 zl-unpack -C "$T/small/out" <"$T/noise.layer"
killed_by TERM zl-unpack -C "$T/new"
gives 75 zl-unpack --timeout 200ms -C "$T/new" < <(sleep 1)
gives 77 as_user zl-unpack -C "$T/roots" <"$T/layer"
gives 78 zl-unpack --config "$T/bad.conf" -C "$T/new" <"$T/layer"

say "zl-walship"
db=$T/app.db
sqlite3 "$db" 'PRAGMA journal_mode = wal; CREATE TABLE t(v)' >/dev/null
insert() { sqlite3 "$1" "INSERT INTO t VALUES(randomblob(${2:-9}))"; }
gives 0 zl-walship --once "$db"
gives 1 zl-walship --status "$db"
sqlite3 "$T/rollback.db" 'CREATE TABLE t(v)'
gives 64 zl-walship --once "$T/rollback.db"
gives 65 zl-walship --once --name other "$T/layer"
gives 66 zl-walship --once "$T/nothing.db"
gives 73 zl-walship --once --cache-dir "$T/full/x/cache" "$db"
insert "$db" 200000
gives 74 zl-walship --once --name third --cache-dir "$T/small/cache" "$db"
rm -rf "$T"/small/*
gives 75 "${keys[@]}" zl-walship --once --retry-for 100ms --store "$away" --name third \
    --cache-dir "$T/third" "$db"
mkdir "$T/second"
zl-restore -o "$T/second/app.db" app
gives 0 zl-walship --once "$T/second/app.db"
insert "$T/second/app.db" 200000
gives 0 zl-walship --once "$T/second/app.db"
insert "$db"
gives 76 zl-walship --once "$db"
gives 77 zl-walship --once --store "$away" --name third --cache-dir "$T/fourth" "$db"
gives 78 zl-walship --once --config "$T/bad.conf" "$db"
gives 126 zl-walship "$T/second/app.db" -- "$T/layer"
gives 127 zl-walship "$T/second/app.db" -- "$T/nothing"
# The command's own end by a signal.
code=0
zl-walship "$T/second/app.db" -- sh -c 'kill -TERM $$' 2>/dev/null || code=$?
[ $code = 143 ] || fail "zl-walship: exit $code for a command that SIGTERM ended"
echo "zl-walship 128+n" >>"$T/reached"

say "zl-restore"
gives 0 zl-restore -o "$T/r.db" app
gives 64 zl-restore app
gives 66 zl-restore -o "$T/new.db" nobody
gives 73 zl-restore -o "$T/r.db" app
gives 74 zl-restore -o "$T/small/r.db" app
gives 75 "${keys[@]}" zl-restore --retry-for 100ms --store "$away" -o "$T/new.db" app
gives 77 zl-restore --store "$away" -o "$T/new.db" app
gives 78 zl-restore --config "$T/bad.conf" -o "$T/new.db" app
gives 141 bash -c '"$@" | head -c 100 >/dev/null; exit ${PIPESTATUS[0]}' - zl-restore -o - app
rm "$T"/store/db/app/snapshots/*
gives 65 zl-restore -o "$T/new.db" app

say "zl-ls"
gives 0 zl-ls
gives 1 zl-ls --max-age 1ms web1
gives 64 zl-ls --check --uploads
blob=$T/store/layers/${damaged#sha256:}.tar.zst
truncate -s -20 "$blob"
gives 1 zl-ls --check damaged
gives 65 zl-ls damaged:/
gives 66 zl-ls nobody
gives 74 bash -c 'exec "$@" >/dev/full' - zl-ls
gives 75 "${keys[@]}" zl-ls --retry-for 100ms --store "$away"
gives 75 "${keys[@]}" zl-ls --max-age 25h --retry-for 100ms --store "$away" web1
gives 77 zl-ls --store "$away"
gives 78 zl-ls --config "$T/bad.conf"
# A short table fits a pipe, which must have no reader before.
unread=(bash -c 'exec 8<>"$0" 9>"$0" 8<&-; exec "$@" >&9 9>&-' "$T/fifo")
gives 141 "${unread[@]}" zl-ls

say "zl-prune"
gives 0 zl-prune --keep-last 1 --apply web1
gives 64 zl-prune --apply web1
gives 66 zl-prune --keep-last 1 --apply nobody
gives 74 bash -c 'exec "$@" >/dev/full' - zl-prune --keep-last 1 --all
gives 75 "${keys[@]}" zl-prune --keep-last 1 --retry-for 100ms --store "$away" --apply --all
gives 77 zl-prune --keep-last 1 --store "$away" --apply --all
zl-push --name web1 <"$T/noise.layer" >/dev/null
zl-push --name web1 <"$T/layer" >/dev/null
gives 77 as_user zl-prune --keep-last 1 --apply web1
expect_grep '^removed 0 objects, 0 B; the rest was not done$' "$OUT"
gives 78 zl-prune --keep-last 1 --config "$T/bad.conf" --apply --all
gives 141 "${unread[@]}" zl-prune --keep-last 1 --all
echo nonsense >"$T/store/db/app/metadata.json"
gives 65 zl-prune --keep-within 30d --apply db/app

say "the manuals name what is reached, and nothing else"
# 128+n of a tool whose manual leaves it to zl(7) counts as named there.
named() { awk '/^# / {on = /^# EXIT STATUS/} on' "$man/$1.1.scd" | grep -oE '\*[0-9]+(\+n)?\*' | tr -d '*'; }
for page in "$man"/zl-*.1.scd; do
    tool=$(basename "$page" .1.scd)
    named $tool | sort -u >"$T/named"
    sed -n "s/^$tool //p" "$T/reached" | sort -u >"$T/got"
    grep -qxF '128+n' "$T/named" || sed -i '/128+n/d' "$T/got"
    diff "$T/named" "$T/got" >"$T/diff" ||
        fail "$tool: in its manual (<) or reached (>) only: $(grep '^[<>]' "$T/diff" | tr '\n' ' ')"
done
