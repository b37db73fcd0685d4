#!/bin/bash
# Goal: what a tool said is done is still so when the power goes right after it; what it had not said
# is done by the same command again. Everything lies on one disk: store, state, targets.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/power.sh"
need_root "mounts a disk"

mkdir -p "$T/tree/dir/deep"
head -c 3000000 /dev/urandom >"$T/tree/noise"
seq 20000 >"$T/tree/dir/deep/text"
ln "$T/tree/noise" "$T/tree/dir/link"
ln -s nowhere "$T/tree/dir/symlink"
zl-pack "$T/tree" >"$T/layer"
export ZL_STORE=file://$T/disk/store ZL_STATE_DIR=$T/disk/state
new_disk() {
    disk_up
    mkdir "$T/disk/w"
    sync -f "$T/disk"
}
# Is the layer there, whole, under its name?
stored() { zl-ls --check=full >"$OUT" && zl-pull web1 | cmp - "$T/layer"; }

say "zl-push said that it is stored"
new_disk
zl-push --name web1 <"$T/layer" >/dev/null
power_cut
stored
zl-push -v --name web1 <"$T/layer" 2>"$ERR" >/dev/null
expect_grep 'already stored' "$ERR"

say "zl-pack -o, zl-pull -o"
new_disk
zl-pack -o "$T/disk/w/packed" "$T/tree"
power_cut
cmp "$T/disk/w/packed" "$T/layer"
zl-push --name web1 <"$T/layer" >/dev/null
zl-pull -o "$T/disk/w/pulled" web1
power_cut
cmp "$T/disk/w/pulled" "$T/layer"

say "zl-unpack: new, merged, into a mount point of its own"
new_disk
zl-unpack -C "$T/disk/w/new" <"$T/layer"
power_cut
same_tree "$T/tree" "$T/disk/w/new"
mkdir "$T/disk/w/merged"
echo mine >"$T/disk/w/merged/mine"
sync -f "$T/disk"
zl-unpack --merge -C "$T/disk/w/merged" <"$T/layer"
power_cut
zl-unpack --check -C "$T/disk/w/merged"
[ "$(cat "$T/disk/w/merged/mine")" = mine ] || fail "what was there is gone"
rm "$T/disk/w/merged/mine"
same_tree --ignore mtime "$T/tree" "$T/disk/w/merged"

say "zl-walship --once, zl-restore"
new_disk
db=$T/disk/w/app.db
sqlite3 "$db" 'PRAGMA journal_mode = wal' 'CREATE TABLE t (x)' \
    'INSERT INTO t SELECT hex(randomblob(500)) FROM generate_series(1, 2000)' >/dev/null
sqlite3 "$db" .dump >"$T/dump"
zl-walship --once "$db"
zl-restore -o "$T/disk/w/r.db" app
power_cut
sqlite3 "$T/disk/w/r.db" .dump | cmp - "$T/dump"
zl-ls --check=full >"$OUT"
rm "$T/disk/w/r.db"
zl-restore -o "$T/disk/w/r.db" app
sqlite3 "$T/disk/w/r.db" .dump | cmp - "$T/dump"

say "zl-prune: what it deleted may be back, what it kept is there"
new_disk
zl-push --name web1 <"$T/layer" >/dev/null
sleep 1.1 # another moment
mkdir "$T/other"
echo other >"$T/other/file"
zl-pack "$T/other" | zl-push --name web1 >/dev/null
for _ in 1 2; do
    ZL_TEST_GRACE=0s zl-prune --keep-last 1 --apply web1 2>"$ERR" >"$OUT"
    power_cut
    zl-ls --check=full >"$OUT"
done
zl-pull web1 | zl-unpack -C "$T/disk/w/got"
same_tree "$T/other" "$T/disk/w/got"

grep -aq ZL_CRASH_AT "$ZL_BIN/zl-push" || { say "not built with crash points" && exit 0; }

say "cut at each state of a push"
mapfile -t points < <(grep -oE '\bpush\.[a-z_-]+' "$support/../../lib/README.md" | sort -u || true)
[ ${#points[@]} -ge 10 ] || fail "lib/README.md lists ${#points[@]} crash points"
met=0
for point in "${points[@]}"; do
    new_disk
    code=0
    { ZL_CRASH_AT=$point zl-push --name web1 <"$T/layer" 2>"$ERR" >"$OUT"; } 2>"$T/shell" || code=$?
    [ $code = 137 ] || [ $code = 0 ] || fail "$point: exit $code"
    [ $code = 0 ] || met=$((met + 1))
    power_cut
    # Nothing that looks stored is not.
    code=0
    zl-ls --check=full >"$OUT" 2>"$ERR" || code=$?
    [ $code = 0 ] || [ $code = 66 ] || fail "$point: $(cat "$OUT" "$ERR")"
    case $point in
    push.spooling) ;; # its producer is gone
    *) zl-push --resume 2>"$ERR" >/dev/null && stored || fail "$point, --resume: $(cat "$ERR")" ;;
    esac
    zl-push --name web1 <"$T/layer" 2>"$ERR" >/dev/null
    stored
done
[ $met -ge 6 ] || fail "only $met points were met"

say "cut at each state of an unpack"
mapfile -t points < <(grep -rhoE '"unpack\.[a-z_-]+"' "$support/../../lib" | tr -d '"' | sort -u)
met=0
for way in new merge; do
    for point in "${points[@]}"; do
        new_disk
        d=$T/disk/w/d
        [ $way = new ] || { mkdir "$d" && echo mine >"$d/mine" && sync -f "$d"; }
        merge=$([ $way = new ] || echo --merge)
        code=0
        { ZL_CRASH_AT=$point zl-unpack $merge -C "$d" <"$T/layer" 2>"$ERR"; } 2>"$T/shell" || code=$?
        [ $code = 0 ] || met=$((met + 1))
        power_cut
        if [ -e "$d" ] && zl-unpack --check -C "$d" 2>"$ERR"; then
            rm -rf "$T/is"
            cp -a "$d" "$T/is"
            rm -rf "$T"/is/.zl-*
            if [ $way = new ]; then
                same_tree "$T/tree" "$T/is"
                rm -rf "$d"
            else
                [ "$(cat "$d/mine")" = mine ] || fail "$point: what was there is gone"
                rm "$T/is/mine"
                [ -z "$(ls -A "$T/is")" ] || same_tree --ignore mtime "$T/tree" "$T/is"
            fi
        fi
        zl-unpack $merge -C "$d" <"$T/layer"
        rm -f "$d/mine"
        same_tree --ignore mtime "$T/tree" "$d"
    done
done
[ $met -ge 4 ] || fail "only $met points were met"
