#!/bin/bash
# Goal: the stored object is a valid OCI layer (tar+zstd) whose DiffID is our digest: umoci and skopeo
# take it.
. "$(dirname "$0")/../support/lib.sh"
need_root "umoci unpacks as root"

mktree --with whiteouts "$T/tree"
# What umoci 0.4.7 cannot: xattr names with "=", empty values, nanoseconds, paths beyond PATH_MAX, far times.
rm -rf "$T/tree"/{xn,x,deep,t_far,t_old,t_neg,t_neg_ns,cap3}
pack_store "$T/tree" oci
zl-pull oci >"$T/layer"
zstd -dcq "$T/layer" >"$T/tar"

say "umoci: its DiffID is our digest, its unpacked tree ours"
umoci init --layout "$T/image"
umoci new --image "$T/image:base"
umoci raw add-layer --image "$T/image:base" "$T/tar" 2>"$ERR" || fail "umoci: $(cat "$ERR")"
manifest=$(jq -r '.manifests[0].digest' "$T/image/index.json" | tr : /)
config=$(jq -r .config.digest "$T/image/blobs/$manifest" | tr : /)
[ "$(jq -r '.rootfs.diff_ids[0]' "$T/image/blobs/$config")" = "sha256:$digest" ]
umoci raw unpack --image "$T/image:base" "$T/umoci" 2>"$ERR" || fail "umoci: $(cat "$ERR")"
cp -a "$T/tree" "$T/plain"
rm -rf "$T/plain/wo"
same_tree --ignore mtime,alloc --ignore-path 'wo' --ignore-path 'wo/*' "$T/plain" "$T/umoci"
[ ! -e "$T/umoci/wo/gone1" ]
[ -e "$T/umoci/wo/opaque/new" ]

say "skopeo: the tar+zstd blob as it is stored"
blob=$(sha256sum "$T/layer" | cut -d' ' -f1)
mkdir -p "$T/zimage/blobs/sha256"
put() { # FILE -> descriptor fields
    local sum
    sum=$(sha256sum "$1" | cut -d' ' -f1)
    cp "$1" "$T/zimage/blobs/sha256/$sum"
    printf '"digest":"sha256:%s","size":%d' "$sum" "$(stat -c %s "$1")"
}
echo '{"imageLayoutVersion":"1.0.0"}' >"$T/zimage/oci-layout"
printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$digest" >"$T/config"
type=application/vnd.oci.image
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar+zstd",%s}]}' \
    $type $type "$(put "$T/config")" $type "$(put "$T/layer")" >"$T/manifest"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json",%s,"annotations":{"org.opencontainers.image.ref.name":"z"}}]}' \
    $type "$(put "$T/manifest")" >"$T/zimage/index.json"
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$T/policy.json"
skopeo --policy "$T/policy.json" copy -q "oci:$T/zimage:z" "dir:$T/copied"
cmp "$T/copied/$blob" "$T/layer"
skopeo --policy "$T/policy.json" copy -q --dest-decompress "oci:$T/zimage:z" "dir:$T/plain-copy"
cmp "$T/plain-copy/$digest" "$T/tar"
