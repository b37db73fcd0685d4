#!/bin/bash
# Goal: a base and five upper directories after each other give the same tree as lower directories of
# one overlay and applied into one flat directory.
. "$(dirname "$0")/../support/lib.sh"
need_root "overlay mounts"

mkdir -p "$T/base/keep" "$T/m"
for i in $(seq 30); do
    mkdir "$T/base/d$i"
    echo "base $i" >"$T/base/d$i/f"
    echo "base $i" >"$T/base/g$i"
done
lower=$T/base
for step in 1 2 3 4 5; do
    mkdir "$T/u$step" "$T/w$step"
    mount -t overlay overlay \
        -o "lowerdir=$lower,upperdir=$T/u$step,workdir=$T/w$step,redirect_dir=off,metacopy=off" "$T/m"
    (
        cd "$T/m"
        rm -rf "d$step" "g$((step * 2))" "d$((step + 10))/f"
        rm -rf "d$((step + 5))" && mkdir "d$((step + 5))" && echo "step $step" >"d$((step + 5))/new"
        [ $step = 1 ] || { rm -rf "d$((step + 4))"; echo file >"d$((step + 4))"; } # dir -> file
        [ $step -lt 3 ] || { rm -rf "g$((step * 2 - 4))"; mkdir -p "g$((step * 2 - 4))/sub"; }
        echo "$step" >>g30
        chmod 7$step$step keep
    )
    umount "$T/m"
    pack_store "$T/u$step" chain
    digests[step]=$digest
    lower=$T/u$step:$lower
done
mount -t overlay overlay -o "lowerdir=$lower" "$T/m"
cp -a "$T/m" "$T/want"
umount "$T/m"

say "as lower directories"
stack=$T/base
for step in 1 2 3 4 5; do
    zl-pull "${digests[step]}" | zl-unpack -C "$T/l$step"
    stack=$T/l$step:$stack
done
mount -t overlay overlay -o "lowerdir=$stack" "$T/m"
same_tree --ignore alloc,xattr "$T/want" "$T/m"
umount "$T/m"

say "applied into one directory"
cp -a "$T/base" "$T/flat"
for step in 1 2 3 4 5; do
    zl-pull "${digests[step]}" | zl-unpack --merge --whiteouts apply -C "$T/flat"
done
same_tree --ignore alloc "$T/want" "$T/flat"

say "kept as .wh. files, unpacked over each other by nobody: still the layer"
zl-pull "${digests[5]}" | zl-unpack --whiteouts oci -C "$T/oci"
find "$T/oci" -name '.wh.*' | grep -q .
