#!/bin/bash
# also: swift
# Goal: the whole way over a real S3 server: one PUT and multipart, all of pull, and the manual's way
# back without our tools.
. "$(dirname "$0")/../support/lib.sh"
use_s3

mktree --only files "$T/tree"
zl-pack "$T/tree" >"$T/layer"
say "one PUT"
digest=$(zl-push --name svc/1 --tag a=b <"$T/layer")
zl-pull svc/1 | cmp - "$T/layer"
store_list >"$T/list"
expect_grep "^$(stat -c %s "$T/layer") layers/${digest#sha256:}\.tar\.zst$" "$T/list"
expect_grep ' layers/refs/svc/1/[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[0-9a-f]{12}\.json$' "$T/list"
s3 get "$ZL_TEST_BUCKET" "$s3_root/layers/${digest#sha256:}.meta.json" | jq -e .blob_sha256 >/dev/null
s3 head "$ZL_TEST_BUCKET" "$s3_root/layers/${digest#sha256:}.tar.zst" >"$T/head"
expect_grep "^x-amz-meta-zl-blob-sha256: $(sha256sum <"$T/layer" | cut -c1-64)" "$T/head"

say "already stored: nothing is sent"
zl-push -v --name svc/1 <"$T/layer" 2>"$ERR" >/dev/null
expect_grep 'already stored' "$ERR"

say "multipart"
zl-push --force --part-size 5MiB --jobs 3 --name svc/2 <"$T/layer" >/dev/null
[ -z "$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root")" ]
zl-pull --part-size 1MiB --jobs 8 svc/2 | cmp - "$T/layer"
zl-pull svc/2 | zl-unpack -C "$T/back"
same_tree "$T/tree" "$T/back"

say "references, paths, files"
zl-pull latest | cmp - "$T/layer"
zl-pull "${digest:7:10}" | cmp - "$T/layer"
expect_exit 66 zl-pull svc
zl-pull -o "$T/o" "$digest"
cmp "$T/o" "$T/layer"
zl-pull --path dir/file07 svc/2 | zl-unpack -C "$T/path"
cmp "$T/path/dir/file07" "$T/tree/dir/file07"

say "keys that need escaping in a URL"
for prefix in 'a b/' 'plus+/' 'ü/' 'p%20c/' "q'&=?#/"; do
    zl-push --prefix "$prefix" --name n <"$T/layer" >/dev/null
    zl-pull --prefix "$prefix" n | cmp - "$T/layer" || fail "prefix $prefix"
done
