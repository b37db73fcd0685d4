#!/bin/bash
# Goal: with index=on an inode of the upper directory has more links than names in it; the names that
# are there stay one file.
. "$(dirname "$0")/../support/lib.sh"
need_root "overlay mounts"

mkdir -p "$T/lower" "$T/upper" "$T/work" "$T/m"
echo data >"$T/lower/one"
ln "$T/lower/one" "$T/lower/two"
ln "$T/lower/one" "$T/lower/three"
mount -t overlay overlay -o "lowerdir=$T/lower,upperdir=$T/upper,workdir=$T/work,index=on" "$T/m"
for f in one two three; do echo more >>"$T/m/$f"; done
umount "$T/m"
[ "$(stat -c %h "$T/upper/one")" = 4 ] || fail "this kernel's index=on makes no fourth link"
zl-pack "$T/upper" >"$T/layer"
[ "$(zstd -dcq "$T/layer" | tar -tv | grep -c '^h')" = 2 ]
zl-unpack -C "$T/back" <"$T/layer"
[ "$(stat -c %h "$T/back/three")" = 3 ]
same_tree --upper "$T/upper" "$T/back"
