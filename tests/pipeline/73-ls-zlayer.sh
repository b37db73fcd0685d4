#!/bin/bash
# Goal: what zlayer-storage wrote is recognised: its layers are listed as zlayer, checked and pulled, its
# database replicas are named for what they are, and both are told from damage.
. "$(dirname "$0")/../support/lib.sh"

# As it writes them: one zstd frame without checksum, five fields of metadata, no names.
mkdir -p "$T/tree/sub" "$T/store/layers"
echo data >"$T/tree/sub/file"
tar --format=gnu --no-xattrs -C "$T/tree" -cf "$T/layer.tar" .
digest=$(sha256sum <"$T/layer.tar" | cut -d' ' -f 1)
object=$T/store/layers/$digest.tar.zst
zstd -q --no-check --no-content-size <"$T/layer.tar" >"$object"
printf '{"digest":"%s","size_bytes":%d,"compressed_size_bytes":%d,"created_at":"2026-06-13T15:27:09.123456789Z","file_count":3}' \
    "$digest" "$(stat -c %s "$T/layer.tar")" "$(stat -c %s "$object")" >"$T/store/layers/$digest.meta.json"
# A replica: whole WAL files, snapshots of the file, its metadata.
replica() { # DIRECTORY
    mkdir -p "$1"/{snapshots,wal}
    sqlite3 "$T/z.db" 'PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS t(v)' >"$T/.mode"
    python3 -c 'import sqlite3, sys, shutil
db = sqlite3.connect(sys.argv[1]); db.execute("INSERT INTO t VALUES (1)"); db.commit()
shutil.copy(sys.argv[1] + "-wal", sys.argv[2])' "$T/z.db" "$T/z.wal"
    zstd -q --no-check -f "$T/z.wal" -o "$1/wal/00000000000000000002.wal.zst"
    zstd -q --no-check -f "$T/z.db" -o "$1/snapshots/20260613_152709.sqlite.zst"
    printf '{\n  "latest_snapshot": "%s",\n  "latest_snapshot_time": "2026-06-13T15:27:09Z",\n  "latest_wal_sequence": null,\n  "snapshot_count": 1,\n  "db_identifier": null,\n  "last_modified": "2026-06-13T15:27:09Z"\n}' \
        "snapshots/20260613_152709.sqlite.zst" >"$1/metadata.json"
}
replica "$T/store/db/old"
replica "$T/store/main/deployments"

say "listed as what they are"
expect_exit 0 zl-ls
cut -f 1,2,5 "$OUT" >"$T/got"
printf -- '-\tzlayer\t%s\ndb/old\tzlayer\t-\n' "$digest" | diff - "$T/got"
expect_exit 0 zl-ls --json --prefix main/deployments/
jq -e '.name == "main/deployments/" and .kind == "zlayer" and (.problem | contains("does not restore"))' "$OUT" >"$T/.jq"
expect_exit 0 zl-ls --json "$digest"
jq -e '.kind == "zlayer" and .file_count == 3' "$OUT" >"$T/.jq"
expect_exit 65 zl-ls db/old

say "a replica is refused by name, and zl-recovery(7) gets its snapshot as printed"
expect_exit 65 zl-restore -o "$T/no.db" old
expect_grep 'zlayer-storage.*zl-recovery\(7\).*20260613_152709.sqlite.zst' "$ERR"
[ ! -e "$T/no.db" ]
awk '/^# /{on = $0 == "# A REPLICA OF ZLAYER-STORAGE"} on && /^```/{lines = !lines; next} on && lines' \
    "$support/../../man/zl-recovery.7.scd" >"$T/lines"
[ "$(wc -l <"$T/lines")" = 2 ]
cp -r "$T/store/db/old" "$T/copy"
[ "$(cd "$T/copy" && bash -euo pipefail "$T/lines" 2>/dev/null)" = ok ]
[ "$(sqlite3 "$T/copy/old.db" 'SELECT count(*) FROM t')" -ge 0 ]

say "a layer can be had; its contents have no table"
zl-pull "$digest" | zstd -dc | cmp - "$T/layer.tar"
expect_exit 64 zl-ls "$digest:/"

say "checked"
for how in meta full; do
    expect_exit 0 zl-ls --check=$how
    [ "$(grep -c '^note' "$OUT")" = 1 ]
    expect_grep 'zlayer-storage' "$OUT"
done
rm "$T/store/db/old/metadata.json"
expect_exit 0 zl-ls --check
expect_grep 'zlayer-storage' "$OUT"
expect_exit 0 zl-ls --max-age=30000d

say "a layer as its upload cuts it"
truncate -s -10 "$object"
expect_exit 1 zl-ls --check
expect_grep "$digest.tar.zst	has [0-9]+ bytes, expected" "$OUT"
