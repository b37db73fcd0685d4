#!/bin/bash
# Goal: what cannot be read is left out, named, and makes everything after it end with 3.
. "$(dirname "$0")/../support/lib.sh"
need_root "to become a user who may not read"
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups -- "$@"; }

mktree --only files --with unreadable "$T/tree"
echo secret >"$T/tree/dir/secret"
chmod 600 "$T/tree/dir/secret"
chown 1000:1000 "$HOME" "$TMPDIR" "$ZL_STATE_DIR"
mkdir "$T/u"
chown 1000 "$T/u"
chmod 755 "$T/tree"

expect_exit 3 as_user zl-pack -o "$T/u/layer" "$T/tree"
for name in m000 d000 dir/secret; do expect_grep "$name" "$ERR"; done
zstd -dcq "$T/u/layer" | tar -t >"$T/names"
expect_grep 'dir/file00' "$T/names"
expect_no_grep 'm000|secret|d000/in' "$T/names"
python3 "$support/layerfmt.py" check "$T/u/layer"
python3 "$support/layerfmt.py" trailer "$T/u/layer" |
    jq -e '.incomplete and .skipped_count == 3 and ([.skipped[].path] | length == 3)' >/dev/null

say "push says 3 too, behind a pipe and as -- CMD; the layer can be had"
expect_exit 3 zl-push --name part <"$T/u/layer"
[[ $(cat "$OUT") =~ ^sha256:[0-9a-f]{64}$ ]]
jq -e '.incomplete == true' "$T"/store/layers/*.meta.json >/dev/null
expect_exit 3 zl-pull part
cmp "$OUT" "$T/u/layer"
expect_exit 3 zl-unpack -C "$T/back" <"$T/u/layer"
[ -f "$T/back/dir/file00" ]
export ZL_STORE=file://$T/u/store ZL_STATE_DIR=$T/u/state
expect_exit 3 as_user zl-push --name part -- zl-pack "$T/tree"
expect_exit 3 zl-pull part
cmp "$OUT" "$T/u/layer"

say "root reads all of it, exit 0, other digest"
zl-pack "$T/tree" >"$T/whole"
! cmp -s "$T/whole" "$T/u/layer" || fail "the same digest"

say "a source that cannot be read at all is an error"
chmod 700 "$T/tree"
expect_exit 77 as_user zl-pack -o "$T/u/layer2" "$T/tree"
[ ! -e "$T/u/layer2" ]
