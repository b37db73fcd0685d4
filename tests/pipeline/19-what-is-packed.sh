#!/bin/bash
# Goal: --exclude, --one-file-system, -o, --sparse and what a hole costs.
. "$(dirname "$0")/../support/lib.sh"

mktree --only files "$T/tree"
names() { zstd -dcq "$1" | tar -t | sed 's|^\./||; s|/$||' | sort; }

say "--exclude"
zl-pack --exclude 'file0*' --exclude sub --exclude 'dir/file1?' "$T/tree" >"$T/layer"
names "$T/layer" >"$T/names"
expect_no_grep '(^|/)(file0.|sub|file1.)(/|$)' "$T/names"
expect_grep '^dir$' "$T/names"
expect_grep '^text$' "$T/names"
python3 "$support/layerfmt.py" check "$T/layer"
zl-unpack -C "$T/back" <"$T/layer"
# The first name of a hardlink group was kept, one of the others excluded.
same_tree --ignore-path 'dir/file*' --ignore-path 'sub' --ignore-path 'sub/*' "$T/tree" "$T/back"

say "an excluded first name of a hardlinked file"
zl-pack --exclude hl_a "$T/tree" | zl-unpack -C "$T/back2"
[ "$(cat "$T/back2/hl_b")" = link ]
[ "$T/back2/hl_b" -ef "$T/back2/sub/hl_c" ]

say "--one-file-system"
if [ "$(id -u)" = 0 ]; then
    mkdir "$T/tree/mnt"
    mount -t tmpfs none "$T/tree/mnt"
    touch "$T/tree/mnt/inside"
    zl-pack --one-file-system "$T/tree" >"$T/layer"
    names "$T/layer" >"$T/names"
    expect_grep '^mnt$' "$T/names"
    expect_no_grep 'inside' "$T/names"
    zl-pack "$T/tree" >"$T/layer"
    expect_grep 'mnt/inside' <(names "$T/layer")
    umount "$T/tree/mnt"
    rmdir "$T/tree/mnt"
fi

say "-o: all or nothing, never the file of before half gone"
zl-pack -o "$T/o" "$T/tree"
zl-pack "$T/tree" | cmp - "$T/o"
echo old >"$T/o2"
timeout --foreground -s KILL 0.05 zl-pack -o "$T/o2" "$T/tree" || true
[ "$(cat "$T/o2")" = old ] || cmp "$T/o2" "$T/o"
zl-pack -o - "$T/tree" | cmp - "$T/o"

say "the output inside of the tree that is packed"
cp -a "$T/tree" "$T/tree3"
code=0
zl-pack -o "$T/tree3/layer.tar.zst" "$T/tree3" 2>"$ERR" || code=$?
[ $code = 0 ] || [ $code = 3 ] || [ $code = 64 ] || fail "exit $code: $(cat "$ERR")"

say "a hole is neither read nor written, whatever its size"
mkdir "$T/hole"
truncate -s 64G "$T/hole/sparse"
echo end >>"$T/hole/sparse"
start=$SECONDS
zl-pack "$T/hole" >"$T/layer"
[ "$(stat -c %s "$T/layer")" -lt 100000 ]
zl-unpack -C "$T/hole2" <"$T/layer"
[ $((SECONDS - start)) -lt 20 ] || fail "took $((SECONDS - start)) s"
same_tree "$T/hole" "$T/hole2"
mkdir "$T/hole3" # by GNU tar's understanding of pax 1.0
zstd -dcq "$T/layer" | tar -x -C "$T/hole3"
same_tree --ignore mtime "$T/hole" "$T/hole3"

say "-n: a name cannot write to the terminal"
mkdir "$T/named"
touch "$T/named/"$'x\xc2\x9b31mRED'
zl-pack -n "$T/named" >"$T/list"
expect_grep $'\tx\\\\xc2\\\\x9b31mRED$' "$T/list"
