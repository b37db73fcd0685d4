#!/bin/bash
# Goal: a full disk is 74, names the place, and leaves nothing half-done that looks whole.
. "$(dirname "$0")/../support/lib.sh"
need_root "a small file system"

mkdir "$T/small"
mount -t tmpfs -o size=4M none "$T/small"
mktree --only files "$T/tree" # about 8 MiB of noise
zl-pack "$T/tree" >"$T/layer"
empty() { [ -z "$(find "$T/small" -type f -size +64k)" ] || fail "left: $(find "$T/small" -ls)"; }
clear_disk() { find "$T/small" -mindepth 1 -delete; }

say "pack -o"
expect_exit 74 zl-pack -o "$T/small/out" "$T/tree"
expect_grep 'space' "$ERR"
[ ! -e "$T/small/out" ]
empty

say "unpack"
expect_exit 74 zl-unpack -C "$T/small/out" <"$T/layer"
expect_grep 'space' "$ERR"
[ ! -e "$T/small/out" ]
empty
expect_exit 74 zl-unpack -C "$T/small" <"$T/layer" # the mount point itself
[ -z "$(ls -A "$T/small" | grep -v '^\.zl')" ] || fail "left: $(ls -A "$T/small")"
expect_exit 0 zl-unpack --check -C "$T/small"
clear_disk

say "push: spool full"
expect_exit 74 zl-push --spool-dir "$T/small/spool" --name web1 <"$T/layer"
expect_grep 'space' "$ERR"
expect_empty "$OUT"
[ "$(stored_layers)$(stored_refs)" = 00 ]
empty
clear_disk

say "push: directory store full; with room the next run finishes"
expect_exit 74 zl-push --store "file://$T/small/store" --name web1 <"$T/layer"
expect_empty "$OUT"
[ -z "$(find "$T/small/store" -name '*.tar.zst' -o -path '*/refs/*.json')" ] ||
    fail "$(find "$T/small")"
mount -o remount,size=64M "$T/small"
expect_exit 0 zl-push --resume
zl-pull --store "file://$T/small/store" web1 | cmp - "$T/layer"
umount "$T/small"

say "pull -o"
zl-push --name web1 <"$T/layer" >/dev/null
mount -t tmpfs -o size=4M none "$T/small"
expect_exit 74 zl-pull -o "$T/small/out" web1
[ ! -e "$T/small/out" ]
mount -o remount,size=64M "$T/small"
expect_exit 0 zl-pull -o "$T/small/out" web1
cmp "$T/small/out" "$T/layer"
[ "$(ls -A "$T/small")" = out ] || fail "left: $(ls -A "$T/small")"
