#!/bin/bash
# Goal: a container's volume can be the target: a mount point, or a directory whose parent cannot be
# written; --check tells a script whether it is complete.
. "$(dirname "$0")/../support/lib.sh"
need_root "mounts"

mktree "$T/tree"
zl-pack "$T/tree" >"$T/layer"

say "a mount point"
mkdir "$T/volume"
mount -t tmpfs none "$T/volume"
zl-unpack -C "$T/volume" <"$T/layer"
same_tree "$T/tree" "$T/volume"
zl-unpack --check -C "$T/volume"
expect_exit 73 zl-unpack -C "$T/volume" <"$T/layer"
umount "$T/volume"

say "a fresh ext4, which has lost+found"
truncate -s 200M "$T/disk"
mkfs.ext4 -q -b 4096 "$T/disk"
mount -o loop "$T/disk" "$T/volume"
zl-unpack -C "$T/volume" <"$T/layer"
same_tree --ignore-path lost+found --ignore alloc "$T/tree" "$T/volume"
umount "$T/volume"

say "a cut stream leaves the volume empty and says complete"
mount -t tmpfs none "$T/volume"
expect_exit 65 zl-unpack -C "$T/volume" < <(head -c 500000 "$T/layer")
[ -z "$(ls -A "$T/volume")" ] || fail "left: $(ls -A "$T/volume")"
expect_exit 0 zl-unpack --check -C "$T/volume"
umount "$T/volume"

say "a parent that cannot be written"
mktree --only files "$T/ftree"
chown -R 1000:1000 "$T/ftree" "$HOME" "$TMPDIR" "$ZL_STATE_DIR"
zl-pack "$T/ftree" >"$T/flayer"
mkdir "$T/ro" "$T/ro/mine"
chown 1000:1000 "$T/ro/mine"
setpriv --reuid 1000 --regid 1000 --clear-groups -- zl-unpack -C "$T/ro/mine" <"$T/flayer"
same_tree "$T/ftree" "$T/ro/mine"
expect_exit 73 setpriv --reuid 1000 --regid 1000 --clear-groups -- \
    zl-unpack -C "$T/ro/other" <"$T/flayer"
