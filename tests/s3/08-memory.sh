#!/bin/bash
# alone
# Goal: memory does not grow with the layer: pack, push, pull and unpack of 4 GiB.
. "$(dirname "$0")/../support/lib.sh"
use_s3

# 4 GiB that compress to about 130 MiB: the server keeps objects in memory.
mkdir "$T/tree"
python3 - "$T/tree/log" <<'PY'
import random, sys
block = random.Random(1).randbytes(32 << 10)
with open(sys.argv[1], 'wb') as f:
    for i in range(4096):
        f.write(b'%020d' % i + random.Random(i).randbytes(32 << 10) + block * 31)
        f.truncate((i + 1) << 20)
        f.seek((i + 1) << 20)
PY
for i in $(seq 3000); do echo "$i" >"$T/tree/small$i"; done
peak() { # LIMIT_MIB COMMAND...: stdin and stdout are passed on
    local limit=$1
    shift
    /usr/bin/time -f %M -o "$T/peak" "$@"
    local mib=$(($(tail -1 "$T/peak") >> 10))
    echo "-- $1: $mib MiB" >&2
    [ $mib -le "$limit" ] || fail "$1 took $mib MiB, at most $limit are fine"
}
peak 250 zl-pack --threads 2 "$T/tree" >"$T/layer"
[ "$(stat -c %s "$T/layer")" -gt $((100 << 20)) ]
peak 120 zl-push --part-size 8MiB --jobs 4 --name big <"$T/layer" >"$T/digest"
peak 200 zl-pull --part-size 8MiB --jobs 4 big >"$T/layer2"
cmp "$T/layer" "$T/layer2"
peak 200 zl-pull --part-size 8MiB --jobs 4 "$(cat "$T/digest")" >"$T/layer2" # decompresses it too
cmp "$T/layer" "$T/layer2"
rm "$T/layer2"
peak 250 zl-unpack --threads 2 -C "$T/back" <"$T/layer"
cmp "$T/tree/log" "$T/back/log"
same_tree --ignore alloc "$T/tree" "$T/back"
s3 empty "$ZL_TEST_BUCKET" "$s3_root/"
