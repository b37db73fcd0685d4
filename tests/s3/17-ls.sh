#!/bin/bash
# Goal: zl-ls on a real S3 server: what it lists over pages and delimiters, uploads under way, a check
# that finds one damaged byte and one object gone of each kind, and answers of the server that are no
# findings: refused and unreachable.
. "$(dirname "$0")/../support/lib.sh"
use_s3

mkdir -p "$T/tree"
head -c 2000000 /dev/urandom >"$T/tree/data"
pack_store "$T/tree" web1
echo more >"$T/tree/more"
pack_store "$T/tree" shop/web-1
sqlite3 "$T/app.db" 'PRAGMA journal_mode = wal; CREATE TABLE t(v)' >"$T/.mode"
for i in 1 2 3 4; do
    zl-walship --once --name shop/db "$T/app.db"
    sqlite3 "$T/app.db" "INSERT INTO t VALUES (randomblob(3000 + $i))"
done

say "listed"
expect_exit 0 zl-ls
[ "$(cut -f 1,2 "$OUT" | tr '\t\n' '  ')" = "shop/web-1 layer web1 layer db/shop/db database " ] || fail "$(cat "$OUT")"
expect_exit 0 zl-ls web1:/data
expect_exit 0 zl-ls --max-age 1h
for how in meta full; do
    expect_exit 0 zl-ls --check=$how
    expect_empty "$OUT"
done

say "uploads under way: ours and others'"
head -c 12000000 /dev/urandom >"$T/tree/big"
code=0
zl-pack "$T/tree" | ZL_CRASH_AT=push.part:1 zl-push --name cut --part-size 5MiB 2>"$T/.note" || code=$?
[ "$code" = 137 ] || fail "not killed: $code (built without crash points?)"
PYTHONPATH=$support python3 -c 'import sys, s3mini
s3mini.need((200,), s3mini.call("POST", "/" + sys.argv[1], {"uploads": ""}))' \
    "$ZL_TEST_BUCKET/$s3_root/elsewhere/file"
expect_exit 0 zl-ls --uploads
[ "$(cut -f 2 "$OUT" | sort | tr '\n' ' ')" = "foreign layer " ] || fail "$(cat "$OUT")"
expect_exit 0 zl-ls --uploads --json
jq -s -e '(.[] | select(.kind == "layer") | .parts >= 1 and .bytes > 1000000 and (.upload_id | length > 5)) and
    (.[] | select(.kind == "foreign") | .parts == 0 and (.key | endswith("elsewhere/file")))' "$OUT" >"$T/.jq"
zl-push --resume >"$OUT"
expect_exit 0 zl-ls --uploads
[ "$(cut -f 2 "$OUT")" = foreign ]

# object KEY: its content in $T/o
object() { s3 get "$ZL_TEST_BUCKET" "$s3_root/$1" "$T/o"; }
put() { s3 put "$ZL_TEST_BUCKET" "$s3_root/$1" "$T/o"; }
# hurt KEY OFFSET CODE-OF-META: one flipped byte, then gone; then as it was
hurt() {
    object "$1"
    cp "$T/o" "$T/good"
    python3 -c 'import sys; b = bytearray(open(sys.argv[1], "rb").read()); b[int(sys.argv[2])] ^= 1
open(sys.argv[1], "wb").write(b)' "$T/o" "$2"
    put "$1"
    expect_exit "$3" zl-ls --check
    expect_exit 1 zl-ls --check=full
    expect_grep "^damage	.*$1" "$OUT"
    s3 delete "$ZL_TEST_BUCKET" "$s3_root/$1"
    expect_exit 1 zl-ls --check
    cp "$T/good" "$T/o"
    put "$1"
    expect_exit 0 zl-ls --check=full
}
say "one byte, one object of each kind"
hurt "layers/$digest.tar.zst" 1000000 0
hurt "layers/$digest.tar.zst" -300 1
hurt "layers/$digest.meta.json" 0 1
hurt "$(printf 'db/shop/db/wal/%020d.wal.zst' 3)" 1500 0
hurt "$(printf 'db/shop/db/wal/%020d.wal.zst' 2)" 60 1
hurt "db/shop/db/metadata.json" 0 1
snapshot=$(store_list db/shop/db/snapshots/ | head -1 | cut -d' ' -f 2)
hurt "$snapshot" 30 0

say "refused and unreachable are no findings"
expect_exit 77 env AWS_SECRET_ACCESS_KEY=wrong "$ZL_BIN/zl-ls" --check
expect_empty "$OUT"
expect_exit 75 zl-ls --check --retry-for 1s --store "s3://b/r?endpoint=http://127.0.0.1:1&region=us-east-1"
expect_empty "$OUT"
