#!/bin/bash
# Goal: the bytes are a function of the tree alone: not of threads, creation order, file system,
# holes, umask, time zone, locale, or the speed of the reader.
. "$(dirname "$0")/../support/lib.sh"
need_root "tmpfs and loop mounts"

mktree --with whiteouts "$T/tree"
zl-pack "$T/tree" >"$T/layer"
same_bytes() { # WHAT COMMAND...
    local what=$1
    shift
    "$@" 2>"$ERR" | cmp - "$T/layer" || fail "other bytes: $what"
}
for threads in 1 2 8; do same_bytes "$threads threads" zl-pack --threads $threads "$T/tree"; done
same_bytes "umask, zone, locale" bash -c "umask 077; TZ=Asia/Tokyo LC_ALL=C exec zl-pack '$T/tree'"
same_bytes "trailing slash" zl-pack "$T/tree/"
same_bytes "relative, another directory" bash -c "cd '$T/tree' && exec zl-pack ."
same_bytes "-o" bash -c "zl-pack -o '$T/o' '$T/tree' && cat '$T/o'"
zl-pack "$T/tree" | (sleep 0.3; dd bs=1000 iflag=fullblock status=none) | cmp - "$T/layer"

say "other creation order"
mktree --with whiteouts --seed 3 "$T/tree2"
same_bytes "creation order" zl-pack "$T/tree2"

say "other file systems"
mkdir "$T/tmpfs" "$T/ext4"
mount -t tmpfs none "$T/tmpfs"
mktree --with whiteouts --seed 4 "$T/tmpfs/tree"
same_bytes "tmpfs" zl-pack "$T/tmpfs/tree"
truncate -s 300M "$T/disk"
mkfs.ext4 -q -b 4096 -I 1024 -O ^extent,^64bit,^dir_index,^metadata_csum "$T/disk"
mount -o loop "$T/disk" "$T/ext4"
mktree --with whiteouts --seed 5 "$T/ext4/tree"
same_bytes "ext4 with block maps, other directory order" zl-pack "$T/ext4/tree"
umount "$T/ext4" "$T/tmpfs"

say "holes filled with zeros"
for f in sp_mid sp_tail sp_odd; do
    cp --sparse=never -p "$T/tree2/$f" "$T/full"
    cat "$T/full" >"$T/tree2/$f"
    touch -r "$T/full" "$T/tree2/$f"
done
touch -r "$T/tree" "$T/tree2"
same_bytes "filled holes" zl-pack "$T/tree2"

say "a change anywhere changes the digest"
chmod 600 "$T/tree2/text"
! zl-pack "$T/tree2" | cmp -s - "$T/layer" || fail "mode is not in the layer"
