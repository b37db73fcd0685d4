#!/bin/bash
# Goal: what lies in the store is what the manual says: keys, fields, order of writing, one object
# per content; and it can be had with cp, zstd, tar alone.
. "$(dirname "$0")/../support/lib.sh"

mktree --only files "$T/tree"
zl-pack "$T/tree" >"$T/layer"
before=$(date -u +%Y%m%dT%H%M%S)
digest=$(zl-push --name svc/1 --tag color=blue --tag note='a=b c' <"$T/layer")
digest=${digest#sha256:}
time='[0-9]{8}T[0-9]{6}\.[0-9]{3}Z'

say "three keys"
store_list >"$T/list"
[ "$(wc -l <"$T/list")" = 3 ] || fail "$(cat "$T/list")"
expect_grep "^$(stat -c %s "$T/layer") layers/$digest\.tar\.zst$" "$T/list"
expect_grep " layers/$digest\.meta\.json$" "$T/list"
expect_grep " layers/refs/svc/1/$time-${digest:0:12}\.json$" "$T/list"
cmp "$T/store/layers/$digest.tar.zst" "$T/layer"

say "fields"
meta=$T/store/layers/$digest.meta.json
jq -e --arg d "$digest" --argjson s "$(zstd -dcq "$T/layer" | wc -c)" \
    --argjson c "$(stat -c %s "$T/layer")" --arg b "$(sha256sum <"$T/layer" | cut -c1-64)" \
    --argjson n "$(zstd -dcq "$T/layer" | tar -t | wc -l)" \
    '.digest == $d and .size_bytes == $s and .compressed_size_bytes == $c and .blob_sha256 == $b
     and .file_count == $n
     and (.created_at | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$"))' "$meta" >/dev/null ||
    fail "$(cat "$meta")"
grep -q '"color": *"blue"' "$meta"
grep -q '"a=b c"' "$meta"
ref=$(echo "$T"/store/layers/refs/svc/1/*.json)
grep -q "$digest" "$ref"
stamp=$(basename "$ref")
[[ ! ${stamp:0:15} < $before ]] || fail "the ref's time $stamp is before $before"

say "the same layer again: nothing is sent, one more ref"
inode=$(stat -c %i "$T/store/layers/$digest.tar.zst")
zl-push --name svc/1 <"$T/layer" >/dev/null
[ "$(stat -c %i "$T/store/layers/$digest.tar.zst")" = "$inode" ]
[ "$(stored_layers)$(stored_refs)" = 12 ]
zl-push --force --name svc/1 <"$T/layer" >/dev/null
[ "$(stored_layers)$(stored_refs)" = 13 ]
zl-push <"$T/layer" >/dev/null # no NAME, no ref
[ "$(stored_refs)" = 3 ]
zl-push --name fast -v <"$T/layer" 2>"$ERR" >/dev/null
expect_grep 'already stored' "$ERR"

say "already stored, but not really: sent again"
truncate -s -1 "$T/store/layers/$digest.tar.zst"
zl-push --name svc/1 <"$T/layer" >/dev/null
cmp "$T/store/layers/$digest.tar.zst" "$T/layer"
rm "$meta"
zl-push --name svc/1 <"$T/layer" >/dev/null
[ -s "$meta" ]
zl-pack --level 10 "$T/tree" >"$T/layer10"
zl-push --force --name svc/1 <"$T/layer10" >/dev/null
zl-pull svc/1 | cmp - "$T/layer10"
[ "$(jq -r .compressed_size_bytes "$meta")" = "$(stat -c %s "$T/layer10")" ]

say "names do not see each other's refs"
zl-push --name svc <"$T/layer" >/dev/null
mktree --only small "$T/small"
zl-pack "$T/small" | zl-push --name svc/1 >/dev/null
zl-pull svc | cmp - "$T/layer10"

say "--prefix"
zl-push --prefix 'else/where-' --name p <"$T/layer" >/dev/null
find "$T/store" -path "*/else/where-*.tar.zst" | grep -q .
zl-pull --prefix 'else/where-' p | cmp - "$T/layer"
expect_exit 66 zl-pull p

say "without our tools"
cd "$T"
mkdir plain
zstd -dc <"$T/store/layers/$digest.tar.zst" | tar -x -C plain
same_tree --ignore mtime --ignore-path . "$T/tree" "$T/plain"

say "a layer that another tool stored, with the required fields only"
tar -C "$T/tree" --format=pax -c . | zstd -q >"$T/foreign.tar.zst"
d=$(zstd -dcq "$T/foreign.tar.zst" | sha256sum | cut -c1-64)
cp "$T/foreign.tar.zst" "$T/store/layers/$d.tar.zst"
jq -n --arg d "$d" --argjson c "$(stat -c %s "$T/foreign.tar.zst")" \
    --argjson s "$(zstd -dcq "$T/foreign.tar.zst" | wc -c)" \
    '{digest:$d,size_bytes:$s,compressed_size_bytes:$c,created_at:"2026-01-01T00:00:00Z",file_count:1}' \
    >"$T/store/layers/$d.meta.json"
zl-pull "$d" | zl-unpack --foreign -C "$T/fback"
same_tree --ignore alloc --ignore-path 't_neg*' "$T/tree" "$T/fback"
printf x | dd of="$T/store/layers/$d.tar.zst" bs=1 seek=5000 conv=notrunc status=none
expect_exit 65 zl-pull --retry-for 1s "$d"
