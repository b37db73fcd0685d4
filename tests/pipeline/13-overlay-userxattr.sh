#!/bin/bash
# Goal: rootless containers: an overlay mounted with userxattr in a user namespace is packed and
# unpacked there, and deleted files stay deleted.
. "$(dirname "$0")/../support/lib.sh"
need_root "to become another user"

mkdir "$T/u"
chown -R 1000:1000 "$T/u" "$HOME" "$TMPDIR" "$ZL_STATE_DIR"
export U=$T/u
cat >"$T/inside.sh" <<'INSIDE'
set -eu
cd "$U"
mkdir -p lower/dir upper work m
echo l >lower/file; echo l >lower/dir/old; echo k >lower/keep
mount -t overlay overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work m
rm m/file; rm -r m/dir; mkdir m/dir; echo n >m/dir/new; chown 0:0 m/keep; chmod 4755 m/keep
cp -a m merged
umount m
[ "$(getfattr -n user.overlay.opaque --only-values upper/dir)" = y ]
zl-pack upper >layer
zl-unpack -C back <layer
mkdir work2
mount -t overlay overlay -o userxattr,lowerdir=lower,upperdir=back,workdir=work2 m
find m -printf '%P %y %m %U %G %s\n' | sort >view2
cat m/dir/new m/keep >content2
umount m
find merged -printf '%P %y %m %U %G %s\n' | sort >view1
cat merged/dir/new merged/keep >content1
cmp view1 view2
cmp content1 content2
INSIDE
chmod 755 "$T/inside.sh"
setpriv --reuid 1000 --regid 1000 --clear-groups -- unshare -Urm bash -x "$T/inside.sh" \
    2>"$T/inside.err" || fail "inside the user namespace: $(tail -20 "$T/inside.err")"

say "the same layer by root, for an overlay with userxattr"
zl-unpack --userxattr -C "$T/rback" <"$T/u/layer"
[ "$(getfattr -n user.overlay.opaque --only-values "$T/rback/dir")" = y ]
[ -c "$T/rback/file" ]
zl-pack --userxattr "$T/rback" | zl-unpack --userxattr -C "$T/rback2"
same_tree --upper "$T/rback" "$T/rback2"

say "and as trusted marks"
zl-unpack -C "$T/tback" <"$T/u/layer"
[ "$(getfattr -n trusted.overlay.opaque --only-values "$T/tback/dir")" = y ]
