#!/bin/bash
# Goal: the manual's lines for a day without our binaries, run as they are printed, with the aws
# command if it is there and by signed requests otherwise.
. "$(dirname "$0")/../support/lib.sh"
use_s3

mktree --only files "$T/tree"
pack_store "$T/tree" web1
mkdir "$T/plain" "$T/plain2"
s3 get "$ZL_TEST_BUCKET" "$s3_root/layers/$digest.tar.zst" | zstd -d | tar -x -C "$T/plain"
same_tree --ignore mtime --ignore-path . "$T/tree" "$T/plain"
if command -v aws >/dev/null; then
    export AWS_ENDPOINT_URL=$ZL_TEST_ENDPOINT AWS_REQUEST_CHECKSUM_CALCULATION=when_required
    aws --endpoint-url "$ZL_TEST_ENDPOINT" s3 cp --quiet \
        "s3://$ZL_TEST_BUCKET/$s3_root/layers/$digest.tar.zst" - | zstd -d | tar -x -C "$T/plain2"
    same_tree --ignore mtime --ignore-path . "$T/tree" "$T/plain2"
fi
