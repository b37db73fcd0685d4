#!/bin/bash
# Goal: what was deleted stays deleted. The merged view of a real overlay is the same over the upper
# directory that came back from a layer.
. "$(dirname "$0")/../support/lib.sh"
need_root "overlay mounts"

make_lower() {
    mkdir -p "$T/lower"/{keep,gone,replaced/deep,opaque/sub}
    for f in a b keep/x keep/y gone/z replaced/old replaced/deep/old opaque/one opaque/sub/two; do
        echo "lower $f" >"$T/lower/$f"
    done
    ln "$T/lower/a" "$T/lower/a_hl"
    ln -s a "$T/lower/sl"
}
# overlay UPPER [OPTIONS]: mounted at $T/m, worked on by `change`
overlay() {
    mkdir -p "$T/m" "$1" "$1.work"
    mount -t overlay overlay -o "lowerdir=$T/lower,upperdir=$1,workdir=$1.work${2:+,$2}" "$T/m"
}
change() {
    rm a keep/x sl
    rm -r gone
    rm -r replaced
    mkdir replaced
    echo new >replaced/new
    rm -r opaque
    mkdir -p opaque/sub
    echo changed >>b
    chmod 700 keep
    setfattr -n user.note -v 1 keep/y
    mkdir -m 2755 fresh
    echo f >fresh/f
    mkfifo fresh/p
    ln -s /nowhere dangling
}
# merged view of $T/upper equals that of what UNPACK-COMMAND makes of its layer
same_merged() { # PACK-OPTIONS UNPACK-OPTIONS
    rm -rf "$T/back" "$T/back.work"
    # shellcheck disable=SC2086
    zl-pack $1 "$T/upper" | zl-unpack $2 -C "$T/back"
    overlay "$T/back"
    same_tree "$T/merged" "$T/m"
    umount "$T/m"
    rm -rf "$T/merged2"
}

make_lower
overlay "$T/upper" redirect_dir=off,metacopy=off
(cd "$T/m" && change)
cp -a "$T/m" "$T/merged"
walker "$T/m" >/dev/null
umount "$T/m"
cp -a "$T/merged/." "$T/merged.check"
[ -c "$T/upper/a" ]
[ "$(getfattr -n trusted.overlay.opaque --only-values "$T/upper/replaced")" = y ]

say "both forms of whiteouts, both ways"
touch -r "$T/upper" "$T/merged" # cp -a cannot keep what it changes last
same_merged '' ''
same_merged '--whiteouts overlay' ''
same_merged '' '--whiteouts overlay'

say "the upper directory itself"
rm -rf "$T/back"
zl-pack "$T/upper" | zl-unpack -C "$T/back"
same_tree --upper "$T/upper" "$T/back"
[ -c "$T/back/a" ]
[ ! -e "$T/back/.wh.a" ]
expect_no_grep 'overlay\.(origin|impure|nlink|uuid)' <(walker "$T/back")

say "--whiteouts oci keeps the .wh. files; apply deletes in a copy of the lower directory"
zl-pack "$T/upper" | zl-unpack --whiteouts oci -C "$T/oci"
[ -f "$T/oci/.wh.a" ]
[ -f "$T/oci/replaced/.wh..wh..opq" ]
cp -a "$T/lower" "$T/flat"
zl-pack "$T/upper" | zl-unpack --merge --whiteouts apply -C "$T/flat"
same_tree --ignore links "$T/merged" "$T/flat"

say "whiteouts and opaque marks that tools make: by xattr"
mkdir -p "$T/up2/d"
setfattr -n trusted.overlay.opaque -v x "$T/up2/d"
touch "$T/up2/d/gone"
setfattr -n trusted.overlay.whiteout -v y "$T/up2/d/gone"
zl-pack "$T/up2" | zl-unpack -C "$T/back2"
[ -c "$T/back2/d/gone" ] || fail "an xattr whiteout did not become a whiteout of an upper directory"
! getfattr -n trusted.overlay.opaque "$T/back2/d" >/dev/null 2>&1 || fail "x is not opaque"

say "escaped marks of nested overlays"
mkdir "$T/up3"
mkdir "$T/up3/d"
setfattr -n trusted.overlay.overlay.opaque -v y "$T/up3/d"
setfattr -n trusted.overlay.overlay.overlay.opaque -v y "$T/up3/d"
zl-pack "$T/up3" >"$T/layer3"
zstd -dcq "$T/layer3" | grep -aq 'SCHILY.xattr.trusted.overlay.opaque=y'
zstd -dcq "$T/layer3" | grep -aq 'SCHILY.xattr.trusted.overlay.overlay.opaque=y'
zl-unpack -C "$T/back3" <"$T/layer3"
same_tree "$T/up3" "$T/back3"

say "a real file named .wh.x would become a whiteout: refused, by name"
mkdir "$T/up4"
touch "$T/up4/.wh.real"
code=0
zl-pack "$T/up4" >"$OUT" 2>"$ERR" || code=$?
[ $code != 0 ] && [ $code != 3 ] || fail "exit $code"
expect_grep '\.wh\.real' "$ERR"
! zl-unpack -C "$T/back4" <"$OUT" 2>/dev/null || fail "half a layer was accepted"
