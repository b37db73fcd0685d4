#!/bin/bash
# run.sh SECONDS [TARGET]...  -- coverage-guided fuzzing, each target that long on one core
# Builds in $ZL_FUZZ (default ./build-fuzz) with clang, AddressSanitizer and UndefinedBehaviorSanitizer;
# what was found interesting stays in $ZL_FUZZ/corpus/TARGET, and is gone on from. Needs Debian's
# clang-16 and libclang-rt-16-dev (14 knows too little C++20). A finding ends it with 1 and its file,
# crash-* in $ZL_FUZZ.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${ZL_FUZZ:-$PWD/build-fuzz}
seconds=${1:?usage: run.sh SECONDS [TARGET]...}
shift
targets=("$@")
[ $# -gt 0 ] || targets=(tar layer_stream toc segment snapshot replies)

clang=$(compgen -c clang++ | grep -E '^clang\+\+(-[0-9]+)?$' | sort -V | tail -1 || true)
[ -n "$clang" ] || { echo "run.sh: no clang++; apt-get install clang-16 libclang-rt-16-dev" >&2 && exit 69; }
[ -e "$build/build.ninja" ] ||
    CXX=$clang CC=${clang/++/} meson setup "$build" "$root" -Dfuzz=true -Dbuildtype=debugoptimized \
        -Db_sanitize=address,undefined -Db_lundef=false \
        -Dcpp_args='-fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined' >/dev/null
ninja -C "$build" "${targets[@]/#/tests/fuzz/fuzz_}" tools/zl-{pack,walship} >/dev/null

# Seeds: what the tools write, small, and cut into what each target takes.
seeds=$build/seeds
if [ ! -d "$seeds" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/tree/d" "$seeds.new"/{tar,layer_stream,toc,segment,snapshot,replies}
    echo text >"$work/tree/d/file"
    ln "$work/tree/d/file" "$work/tree/link"
    ln -s d/file "$work/tree/symlink"
    mkfifo "$work/tree/fifo"
    truncate -s 1M "$work/tree/hole"
    echo end >>"$work/tree/hole"
    touch "$work/tree/$(printf 'l%.0s' {1..200})" "$work/tree/d/"$'\xc3\xa4'
    setfattr -n user.x -v y "$work/tree/d" 2>/dev/null || true
    export ASAN_OPTIONS=detect_leaks=0 # libraries' own, at the end of a process
    "$build/tools/zl-pack" -q "$work/tree" >"$seeds.new/layer_stream/layer"
    zstd -dqc "$seeds.new/layer_stream/layer" >"$seeds.new/tar/zl"
    echo small | zstd -qc >"$seeds.new/layer_stream/foreign"
    for format in ustar pax gnu v7; do
        tar -C "$work/tree" --format=$format -b 2 -cf "$seeds.new/tar/$format" d symlink 2>/dev/null || true
    done
    tar -C "$work/tree" --format=pax --sparse -b 2 -cf "$seeds.new/tar/sparse" hole
    python3 - "$seeds.new" <<'PY'
import os, re, struct, subprocess, sys
seeds = sys.argv[1]
data = open(seeds + '/layer_stream/layer', 'rb').read()
at, n = 0, 0
while at < len(data):  # skippable frames: table of contents, trailer, seek table
    magic, size = struct.unpack('<II', data[at:at + 8])
    if magic & 0xFFFFFFF0 != 0x184D2A50:
        at = data.index(struct.pack('<I', 0x184D2A50)[1:], at) - 1
        continue
    payload = data[at + 8:at + 8 + size]
    open('%s/toc/%d' % (seeds, n), 'wb').write(data[at:at + 8 + size])
    run = subprocess.run(['zstd', '-dqc'], input=payload, capture_output=True)
    if run.stdout:
        open('%s/toc/%d-content' % (seeds, n), 'wb').write(run.stdout)
    at, n = at + 8 + size, n + 1
PY
    sqlite3 "$work/app.db" 'PRAGMA page_size = 512; PRAGMA journal_mode = wal' 'CREATE TABLE t (x)' >/dev/null
    export ZL_STORE=file://$work/store
    for i in 1 2; do
        sqlite3 "$work/app.db" "INSERT INTO t VALUES ($i)"
        "$build/tools/zl-walship" -q --once "$work/app.db"
    done
    for segment in "$work"/store/db/app/wal/*; do
        {
            tail -c +9 "$segment" | head -1 | sed 's/ *$//'
            tail -c +1025 "$segment" | zstd -dqc
        } >"$seeds.new/segment/$(basename "$segment")"
    done
    cp "$work"/store/db/app/snapshots/* "$work"/store/db/app/metadata.json "$seeds.new/snapshot/"
    grep -aoh '{"[^}]*}' "$work"/store/db/app/snapshots/* | head -1 >"$seeds.new/snapshot/header"
    cp "$work/store/db/app/metadata.json" "$seeds.new/replies/json"
    i=0
    while read -r line; do echo -n "$line" >"$seeds.new/replies/$((i++))"; done <<'SEEDS'
<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified><ETag>"x"</ETag><Size>1</Size></Contents><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes><NextContinuationToken>t</NextContinuationToken></ListBucketResult>
<ListPartsResult><IsTruncated>false</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker><Part><PartNumber>1</PartNumber><ETag>"x"</ETag><Size>5</Size></Part></ListPartsResult>
<ListMultipartUploadsResult><Upload><Key>a</Key><UploadId>u</UploadId><Initiated>2026-11-22T00:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>
<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>
<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>
<Error><Code>SlowDown</Code><Message>m</Message><Region>r</Region><Endpoint>e</Endpoint><RequestId>i</RequestId></Error>
s3://bucket/root?endpoint=http://127.0.0.1:9000&region=us-east-1
file:///srv/store
20261122T000000.000Z
2026-11-22T00:00:00.5+01:00
Sun, 22 Nov 2026 00:00:00 GMT
layers/refs/web1/20261122T000000.000Z-0123456789ab.json
[default]
1.5GiB
90m
SEEDS
    mv "$seeds.new" "$seeds"
fi

for target in "${targets[@]}"; do
    mkdir -p "$build/corpus/$target"
    echo "== $target"
    (cd "$build" && "tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 \
        -max_len=65536 -print_final_stats=1 -verbosity=0 "corpus/$target" "$seeds/$target")
done
