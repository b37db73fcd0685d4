#!/bin/bash
# Goal: one flipped byte, or one object gone, of each kind: zl-ls --check=full names it and ends with 1;
# --check sees it where few bytes of an object tell. Nothing is changed by looking.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"

mkdir -p "$T/tree/d"
head -c 3000000 /dev/urandom >"$T/tree/d/data"
echo text >"$T/tree/text"
truncate -s 40M "$T/tree/hole"
echo end >>"$T/tree/hole"
pack_store "$T/tree" web1
layer=$digest
head -c 9000 /dev/urandom >"$T/blob"
raw=$(zl-push --raw --name enc --accept-eof <"$T/blob")
raw=${raw#sha256:}
foreign=$(tar -C "$T/tree/d" -c . | zstd -q | zl-push --foreign --name tar)
foreign=${foreign#sha256:}

# Segments, of which the first are old enough to be merged; a second snapshot.
sqlite3 "$DB" 'PRAGMA journal_mode = wal; CREATE TABLE t(v)' >"$T/.mode"
one_more() {
    sqlite3 "$DB" "INSERT INTO t VALUES (randomblob(5000))"
    zl-walship --flush --timeout 20s "$DB"
}
start_ship --sync-interval 50ms --snapshot-interval 1h
within 10 is_streaming
for _ in 1 2 3 4 5; do one_more; done
drain_ship
sqlite3 "$DB.zl/state.db" 'UPDATE catalogue SET time = time - 432000000'
touch -d '5 days ago' "$T"/store/db/app/wal/*
merged() { ls "$T/store/db/app/merged" 2>/dev/null | grep -q .; }
start_ship --sync-interval 50ms --snapshot-interval 1h
within 10 is_streaming
for _ in 1 2 3; do one_more; done
drain_ship
start_ship --snapshot-interval 1h # looks for what to merge when it begins, then once a minute
within 15 merged
drain_ship
cp -a "$T/store" "$T/whole"

again() { rm -rf "$T/store" && cp -a "$T/whole" "$T/store"; }
flip() { # FILE OFFSET
    python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2]), 2 if sys.argv[2][0] == "-" else 0)
at = f.tell(); b = f.read(1); f.seek(at); f.write(bytes([b[0] ^ 1]))' "$1" "$2"
}
# named KEY: a line of damage has it
named() {
    awk -F '\t' -v key="$1" '$1 == "damage" && index($3, key) {found = 1} END {exit !found}' "$OUT" ||
        fail "no damage of $1: $(cat "$OUT")"
}
# check CODE-OF-META KEY: after something was done to KEY
check() {
    expect_exit "$1" zl-ls --check
    [ "$1" = 0 ] || named "$2"
    expect_exit 1 zl-ls --check=full
    named "$2"
    expect_grep '^zl-ls: [0-9]+ damaged or missing in ' "$ERR"
    again
}

say "whole"
find "$T/store" -type f -exec sha256sum {} + | sort >"$T/sums"
for how in --check --check=meta --check=full; do
    expect_exit 0 zl-ls $how
    expect_empty "$OUT"
    expect_empty "$ERR"
done
for what in web1 enc tar $layer ${raw:0:9} db/app; do expect_exit 0 zl-ls --check=full $what; done
find "$T/store" -type f -exec sha256sum {} + | sort | cmp - "$T/sums"

s=$T/store/layers
size=$(stat -c %s "$s/$layer.tar.zst")
ref=$(cd "$s" && ls refs/web1/*.json)
say "a flipped byte: layer's data, table of contents, trailer, seek table; raw; foreign"
toc=$(zl-ls --json $layer | jq .trailer.data_frames)
[ "$toc" -ge 1 ]
python3 - "$s/$layer.tar.zst" >"$T/offsets" <<'PY'
import struct, sys
data = open(sys.argv[1], 'rb').read()
rows = struct.unpack('<I', data[-9:-5])[0]
table = data[-9 - 8 * rows:-9]
sizes = [struct.unpack('<II', table[8 * i:8 * i + 8])[0] for i in range(rows)]
toc = sum(sizes[:-2])
print(toc + sizes[-2] // 2, toc + sizes[-2] + 50)
PY
read -r toc trailer <"$T/offsets"
flip "$s/$layer.tar.zst" 1000000; check 0 "$layer.tar.zst"
flip "$s/$layer.tar.zst" "$toc"; check 0 "$layer.tar.zst"
flip "$s/$layer.tar.zst" "$trailer"; check 1 "$layer.tar.zst"
flip "$s/$layer.tar.zst" -10; check 0 "$layer.tar.zst"
flip "$s/$layer.tar.zst" -4; check 1 "$layer.tar.zst"
flip "$s/raw/$raw" 77; check 0 "raw/$raw"
flip "$s/$foreign.tar.zst" 1000; check 0 "$foreign.tar.zst"
say "a cut object, and one that is empty"
truncate -s $((size - 1)) "$s/$layer.tar.zst"; check 1 "$layer.tar.zst"
truncate -s 100 "$s/raw/$raw"; check 1 "raw/$raw"
truncate -s 0 "$s/$foreign.tar.zst"; check 1 "$foreign.tar.zst"
say "metadata and refs: not JSON, another digest, another hash, another size"
for meta in "$layer.meta.json" "raw/$raw.meta.json" "$foreign.meta.json"; do
    flip "$s/$meta" 0; check 1 "$meta"
    flip "$s/$meta" 15; check 1 "$meta"
    sed -i 's/"compressed_size_bytes":/&1/' "$s/$meta"; check 1 "${meta%.meta.json}"
done
sed -i 's/"blob_sha256":"../&0/; s/\("blob_sha256":".\{64\}\)./\1/' "$s/$layer.meta.json"; check 1 "$layer"
sed -i 's/"file_count":/&1/' "$s/$layer.meta.json"; check 1 "$layer.meta.json"
flip "$s/$ref" 0; check 1 "$ref"
flip "$s/$ref" "$(grep -abo '"digest":"' "$s/$ref" | cut -d: -f 1 | awk '{print $1 + 12}')"; check 1 "$ref"
say "an object that is gone: the layer, its metadata, the raw one"
rm "$s/$layer.tar.zst"; check 1 "$layer.tar.zst"
rm "$s/$layer.meta.json"; check 1 "$layer.meta.json"
rm "$s/raw/$raw"; check 1 "raw/$raw"
say "what it means is said: the name and the time"
rm "$s/$layer.tar.zst"
expect_exit 1 zl-ls --json --check web1
jq -e '.type == "damage" and (.subject | startswith("web1@20")) and (.advice | length > 10)' "$OUT" >"$T/.jq"
expect_exit 0 zl-ls --check enc
again

# blame CODE-OF-META KEY: as check, and nothing else is named
blame() {
    expect_exit "$1" zl-ls --check
    [ "$1" = 0 ] || [ "$(grep -c '^damage' "$OUT")" = 1 ] || fail "not alone: $(cat "$OUT")"
    expect_exit 1 zl-ls --check=full
    named "$2"
    [ "$(grep -c '^damage' "$OUT")" = 1 ] || fail "not alone: $(cat "$OUT")"
    again
}
say "the ref is named, not a layer that never was; and where what is asked for cannot be read"
flip "$s/$ref" "$(grep -abo '","kind"' "$s/$ref" | awk -F: '{print $1 - 1}')"
for what in web1 web1@2999-01-01T00:00:00Z $layer; do
    expect_exit 1 zl-ls --check $what
    named "$ref"
done
blame 1 "$ref"
sed -i 's/"kind"/"kinc"/' "$s"/refs/enc/*
blame 1 refs/enc/20
echo junk >"$(ls "$s"/refs/tar/*)"
for what in tar tar@2999-01-01T00:00:00Z latest; do
    expect_exit 1 zl-ls --check $what
    named refs/tar/20
done
say "one that is not there: the others are checked, and damage is told first"
expect_exit 1 zl-ls --check nosuch tar none
expect_grep 'no layer named nosuch' "$ERR"
expect_exit 64 zl-ls --check tar "bad name"
expect_empty "$OUT"
again
expect_exit 66 zl-ls --check web1 nosuch
say "name and time are in a ref's key too"
sed -i 's/"name":"w/"name":"v/' "$s/$ref"
expect_exit 0 zl-ls --check
expect_grep "^note.*$ref	name \"veb1\", its key says web1" "$OUT"
again
say "metadata that says otherwise than the data"
sed -i 's/"blob_sha256"/"blob_sha257"/' "$s/$layer.meta.json"
blame 1 "$layer.meta.json"
sed -i 's/"size_bytes":/&1/' "$s/raw/$raw.meta.json"
blame 1 "raw/$raw.meta.json"
sed -i 's/"size_bytes":[0-9]*/"size_bytes":512/' "$s/$foreign.meta.json"
blame 0 "$foreign.meta.json"
sed -i 's/"size_bytes":/&1/' "$s/$foreign.meta.json"
blame 0 "$foreign.meta.json"
sed -i 's/"file_count":/&1/' "$s/$foreign.meta.json"
blame 0 "$foreign.meta.json"
say "what a directory keeps beside an object"
echo '{' >"$s/.$layer.tar.zst.zl-meta"
flip "$s/raw/$raw" 77
expect_exit 1 zl-ls --check=full
named "raw/$raw"
again

d=$T/store/db/app
segment() { printf 'wal/%020d.wal.zst' "$1"; }
last=$(ls "$d/wal" | wc -l)
snapshot=snapshots/$(ls "$d/snapshots" | tail -1)
merged=merged/$(ls "$d/merged" | head -1)
say "a flipped byte: segment, merged one, snapshot, metadata.json (headers, then bodies)"
flip "$d/$(segment 3)" 100; check 1 "$(segment 3)"
flip "$d/$(segment 3)" 1500; check 0 "$(segment 3)"
flip "$d/$merged" 100; check 1 "$merged"
flip "$d/$merged" 1500; check 0 "$merged"
flip "$d/$snapshot" 20; check 0 "$snapshot"
flip "$d/$snapshot" -60; check 1 "$snapshot"
flip "$d/metadata.json" 0; check 1 metadata.json
sed -i 's/\("latest_snapshot_sequence": \)[0-9]*/\199/' "$d/metadata.json"; check 1 metadata.json
sed -i 's/\("db_identifier": "\)./\1x/' "$d/metadata.json"; check 1 metadata.json
truncate -s -1 "$d/$(segment 4)"; check 1 "$(segment 4)"
say "an object that is gone: what cannot be restored is told"
rm "$d/$snapshot"; check 1 "$snapshot"
rm "$d/metadata.json"; check 1 metadata.json
gone() { # TEXT: of the finding
    for how in --check --check=full; do
        expect_exit 1 zl-ls $how db/app
        expect_grep "^damage	db/app	-	$1 cannot be restored: missing or damaged	the moments after 20" "$OUT"
    done
    again
}
rm "$d/$(segment $((last - 1)))"; gone "segments $((last - 1))-$last"
rm "$d/$(segment "$last")"; gone "segment $last"
say "a merged one stands for its segments, and they for it"
[[ $merged =~ ([0-9]+)-([0-9]+) ]]
from=$((10#${BASH_REMATCH[1]})) to=$((10#${BASH_REMATCH[2]}))
[ "$to" -gt "$from" ]
rm "$d/$merged"
expect_exit 0 zl-ls --check=full
again
rm "$d/$(segment "$from")"
expect_exit 0 zl-ls --check=full
rm "$d/$merged"
gone "segments $from-$last"
say "a segment in another's place, one of another database"
cp "$d/$(segment 4)" "$d/$(segment 5)"; check 1 "$(segment 5)"
sqlite3 "$T/other.db" 'PRAGMA journal_mode = wal; CREATE TABLE u(v)' >"$T/.mode"
for i in 1 2 3 4 5; do
    sqlite3 "$T/other.db" "INSERT INTO u VALUES ($i)"
    zl-walship --once --name other "$T/other.db"
done
mv "$T/store/db/other" "$T/other"
cp "$T/other/$(segment 4)" "$d/$(segment 4)"; check 1 "$(segment 4)"
cp "$T/other/$(segment 1)" "$d/$(segment 1)"
blame 1 "$(segment 1)"
say "metadata.json that names a snapshot which never was, or none, though it is there"
for wrong in s/snapshots/snapshotz/ 's/\(snapshots.*Z\)/\1z/' 's/"db.*"/null/'; do
    sed -i "/\"latest_snapshot\"/$wrong" "$d/metadata.json"
    blame 1 metadata.json
done

say "two snapshots: what lies before the second, between, and behind it"
cp -a "$T/whole" "$T/one"
two() { [ "$(ls "$d/snapshots" | wc -l)" -ge 2 ]; }
start_ship --sync-interval 50ms --snapshot-interval 1s
within 10 is_streaming
one_more
within 20 two
drain_ship
expect_exit 0 zl-ls --check=full
rm -rf "$T/whole"; cp -a "$T/store" "$T/whole"
rm -f "$d"/merged/*"$last.wal.zst" "$d/$(segment $((last - 1)))" # the last three were merged now
expect_exit 1 zl-ls --check
expect_grep "	segments? $((last - 1))-?[0-9]* cannot be restored.* after 20.*Z and before 20.*, --sequence [0-9]+ the next one" "$OUT"
again
rm "$d/$snapshot"
expect_exit 1 zl-ls --check
expect_grep "	segments 2-[0-9]+ cannot be restored: the snapshot before is missing or damaged	the moments before 20" "$OUT"
again
rm "$d/snapshots"/*
expect_exit 1 zl-ls --check
expect_grep "has no snapshot that can be read	its segments 1-" "$OUT"
named "$(jq -r .latest_snapshot "$d/metadata.json")"

say "another generation: an older copy is put in place"
rm -rf "$T/whole"; mv "$T/one" "$T/whole"
again
zl-restore -o "$T/r.db" --sequence 3 app
rm "$DB" "$DB"-*
mv "$T/r.db" "$DB"
sqlite3 "$DB" 'PRAGMA journal_mode = wal; INSERT INTO t VALUES (2)' >"$T/.mode"
rm -rf "$DB.zl" # or it would be taken for our own, and the difference shipped
zl-walship --once --take-over "$DB" 2>"$T/.note"
[ "$(zl-ls --json db/app | jq -s 'map(.generation) | unique | length')" = 2 ]
expect_exit 0 zl-ls --check=full
expect_empty "$OUT"
rm -rf "$T/whole"; cp -a "$T/store" "$T/whole"
rm "$d/$(segment "$last")"; gone "segment $last" # the tip of the one that was left
