#!/bin/bash
# Goal: an unprivileged user keeps what a user may keep, is told what could not be restored (exit 3),
# and never gets a tree in which deleted files come back.
. "$(dirname "$0")/../support/lib.sh"
need_root "to become another user, and to make what a user cannot restore"
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups -- "$@"; }

mkdir "$T/u"
chown -R 1000:1000 "$T/u" "$HOME" "$TMPDIR" "$ZL_STATE_DIR"

say "a user's own tree"
as_user python3 - "$T/u/tree" <"$support/mktree.py"
as_user bash -c "zl-pack '$T/u/tree' | zl-unpack -C '$T/u/out'"
same_tree "$T/u/tree" "$T/u/out"

say "root's tree, unpacked by a user: all content there, exit 3 and the reasons"
mktree "$T/rtree"
zl-pack "$T/rtree" >"$T/layer"
expect_exit 3 as_user zl-unpack -C "$T/u/out3" <"$T/layer"
expect_grep 'owner|device|privilege|permi' "$ERR"
same_tree --ignore owner,mode,xattr,mtime,links --ignore-path 'chr*' --ignore-path blk \
    "$T/rtree" "$T/u/out3"
[ ! -u "$T/u/out3/owned_suid" ] || fail "setuid kept for a file whose owner could not be"

say "whiteouts and opaque directories become user.overlay.* marks, or nothing is unpacked"
mktree --only small --with whiteouts "$T/wtree"
rm -r "$T/wtree/wo/nested" # a trusted.* mark that is content, not a mark
zl-pack "$T/wtree" >"$T/wlayer"
code=0
as_user zl-unpack -C "$T/u/wout" <"$T/wlayer" 2>"$ERR" || code=$?
case $code in
0 | 3)
    getfattr -n user.overlay.opaque --only-values "$T/u/wout/wo/opaque" | grep -q y
    [ -c "$T/u/wout/wo/gone1" ] || getfattr -n user.overlay.whiteout "$T/u/wout/wo/gone1" >/dev/null
    ;;
77) [ ! -e "$T/u/wout" ] ;;
*) fail "exit $code: $(cat "$ERR")" ;;
esac

say "trusted.* marks cannot be read by a user: packing an upper directory is refused"
rm -rf "$T/wtree/wo/xform" "$T/wtree/wo/opaque"
chown -R 1000:1000 "$T/wtree"
expect_exit 77 as_user zl-pack -o "$T/u/no" "$T/wtree"
expect_grep 'userxattr|root' "$ERR"
[ ! -e "$T/u/no" ]
expect_exit 0 as_user zl-pack --userxattr -o "$T/u/yes" "$T/wtree"

say "no threads to be had, as in a container with a pids limit: fewer are used, or it is said"
mkdir "$T/few" "$T/few/state" "$T/few/tree"
head -c 3000000 /dev/urandom >"$T/few/tree/data"
for i in $(seq 100); do echo "$i" >"$T/few/tree/$i"; done
zl-pack -o "$T/few/layer" "$T/few/tree"
uid=$((50000 + $$ % 10000)) # nobody else's processes count
export ZL_STATE_DIR=$T/few/state ZL_STORE=file://$T/few/store HOME=$T/few
few() { # COMMAND...: with at most $n threads
    setpriv --reuid $uid --regid $uid --clear-groups -- prlimit --nproc=$n -- "$@"
}
well=0
for n in 3 4 5 6 8 12; do
    chown -R $uid:$uid "$T/few"
    rm -rf "$T/few"/{out,again,pulled}
    for command in "zl-pack -o $T/few/again $T/few/tree" "zl-push --force --name web1" "zl-ls --check=full --jobs 8" \
        "zl-pull --jobs 8 -o $T/few/pulled web1" "zl-unpack --no-same-owner -C $T/few/out"; do
        code=0
        few $command <"$T/few/layer" >"$OUT" 2>"$ERR" || code=$?
        case $code in
        0) well=$((well + 1)) ;;
        66) ;; # nothing was pushed yet
        74) expect_grep 'no thread could be started' "$ERR" ;;
        *) fail "$n threads: exit $code: $command: $(cat "$ERR")" ;;
        esac
    done
done
[ $code = 0 ] && [ $well -ge 15 ] || fail "too seldom: $well"
