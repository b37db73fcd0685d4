#!/bin/bash
# Goal: every kind of entry that an upper directory can hold comes back, through the bare pipe and
# through a store.
. "$(dirname "$0")/../support/lib.sh"
need_root "devices, owners, trusted xattrs"

mktree --with huge --with whiteouts --with sockets --with unreadable "$T/tree"

say "pack | unpack"
zl-pack -v "$T/tree" 2>"$T/pack.err" | zl-unpack -C "$T/pipe"
same_tree --upper --ignore-sockets "$T/tree" "$T/pipe"
expect_grep 'socket' "$T/pack.err" # the one thing that was left out is named

say "pack | push, pull | unpack"
zl-pack "$T/tree" 2>/dev/null >"$T/layer"
digest=$(zl-push --name svc/1 <"$T/layer")
[ "$digest" = "sha256:$(zstd -dcq "$T/layer" | sha256sum | cut -d' ' -f1)" ] || fail "digest $digest"
zl-pull svc/1 | zl-unpack -C "$T/store1"
same_tree --upper --ignore-sockets "$T/tree" "$T/store1"
zl-pull "$digest" | cmp - "$T/layer"

say "without the store's and the packer's help: any sparse mode, overlay form, one thread, level 1"
zl-pack --sparse=never --whiteouts=overlay --threads 1 --level 1 --exclude huge "$T/tree" \
    2>/dev/null | zl-unpack -C "$T/never"
same_tree --upper --ignore-sockets --ignore-path huge "$T/tree" "$T/never"
zl-pack --sparse=always "$T/tree" 2>/dev/null | zl-unpack -C "$T/always"
same_tree --upper --ignore-sockets "$T/tree" "$T/always"

say "an empty directory, and one file"
mkdir -m 700 "$T/empty" "$T/one"
touch -d @1 "$T/empty"
zl-pack "$T/empty" | zl-unpack -C "$T/empty2"
same_tree "$T/empty" "$T/empty2"
echo x >"$T/one/x"
zl-pack "$T/one" | zl-unpack -C "$T/one2"
same_tree "$T/one" "$T/one2"
