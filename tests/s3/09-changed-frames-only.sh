#!/bin/bash
# Goal: of a new version of a layer only the changed frames travel, and the stored object is byte for
# byte what a full upload makes.
. "$(dirname "$0")/../support/lib.sh"
use_proxy

mkdir "$T/tree"
for i in $(seq -w 60); do head -c 1M /dev/urandom >"$T/tree/f$i"; done
zl-pack "$T/tree" >"$T/l1"
d1=$(zl-push --name web1 --part-size 5MiB <"$T/l1")
zl-push --name web1 <"$T/l1" >/dev/null
echo changed >"$T/tree/f30"
echo new >"$T/tree/new"
zl-pack "$T/tree" >"$T/l2"
clear_log
zl-push --name web1 --part-size 5MiB <"$T/l2" >/dev/null
sent=$(control GET /log | jq '[.[] | .fwd] | add')
say "$sent of $(stat -c %s "$T/l2") bytes sent"
[ "$sent" -lt $(($(stat -c %s "$T/l2") / 2)) ] || fail "the unchanged frames travelled"
key=$(zl-pull web1 | zstd -dcq | sha256sum | cut -c1-64)
s3 get "$ZL_TEST_BUCKET" "$s3_root/layers/$key.tar.zst" | cmp - "$T/l2"
[ -z "$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root/")" ]

say "a copied part that is not what it should be is found: the older object was damaged in place"
s3 get "$ZL_TEST_BUCKET" "$s3_root/layers/${d1#sha256:}.tar.zst" "$T/damaged"
printf 'XXXX' | dd of="$T/damaged" bs=1 seek=3000000 conv=notrunc status=none
mkdir "$T/again"
use_s3 "http://127.0.0.1:$proxy_port"
s3_root=$s3_root-damaged
ZL_STORE=${ZL_STORE/${s3_root%-damaged}/$s3_root}
zl-push --name web1 <"$T/l1" >/dev/null
s3 put "$ZL_TEST_BUCKET" "$s3_root/layers/${d1#sha256:}.tar.zst" "$T/damaged"
zl-push --name web1 --part-size 5MiB <"$T/l2" >/dev/null
s3 get "$ZL_TEST_BUCKET" "$s3_root/layers/$key.tar.zst" | cmp - "$T/l2"
zl-pull web1 | cmp - "$T/l2"
