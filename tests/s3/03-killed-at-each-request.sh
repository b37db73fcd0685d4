#!/bin/bash
# Goal: the same with the client killed while a request hangs: before it left, in the middle of its
# body, and after the server did it but before the reply arrived.
. "$(dirname "$0")/../support/lib.sh"
use_proxy

mkdir "$T/tree"
head -c 26000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
jobs=2
parts=$((($(stat -c %s "$T/layer") + (5 << 20) - 1) / (5 << 20)))
base=$ZL_STORE n=0
kill_at() { # METHOD PATH WHEN [BYTES] [SKIP]: once for each way to go on
    kill_and again "$@"
    kill_and resume "$@"
}
kill_and() { # again|resume METHOD PATH WHEN [BYTES] [SKIP]
    local finish=$1
    shift
    n=$((n + 1))
    rm -rf "$ZL_STATE_DIR"
    ZL_STORE=${base/$s3_root/$s3_root-$n}
    clear_log
    rules "[{\"method\":\"$1\",\"path\":\"$2\",\"action\":\"hold\",\"when\":\"$3\",
             \"bytes\":${4:-0},\"skip\":${5:-0}}]"
    zl-push --name web1 --part-size 5MiB --jobs $jobs <"$T/layer" >"$OUT" 2>"$ERR" &
    local pid=$!
    within 30 held
    kill -KILL $pid
    wait $pid 2>/dev/null || true
    control PUT /drop >/dev/null
    control DELETE /rules >/dev/null
    expect_empty "$OUT"
    if [ $finish = again ]; then
        zl-push --name web1 --part-size 5MiB --jobs $jobs <"$T/layer" >"$OUT" 2>"$ERR"
    else
        zl-push --resume --jobs $jobs >"$OUT" 2>"$ERR"
    fi || fail "$finish $*: exit $?: $(cat "$ERR")"
    zl-pull web1 | cmp - "$T/layer"
    local total
    total=$(log_count '.method == "PUT" and (.path | test("partNumber="))')
    [ "$total" -le $((parts + jobs)) ] || fail "$finish $*: $total parts sent, $parts needed"
    left=$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root-$n/")
    # A Create whose reply was lost made an upload that nobody can prove to be ours: it is recorded,
    # and aborted once it is a day old. Everything else leaves nothing.
    case "$1 $3" in
    'POST after') [ -z "$left" ] || [ "$2" = '[?]uploads' ] || fail "$finish $*: left $left" ;;
    *) [ -z "$left" ] || fail "$finish $*: left $left" ;;
    esac
    s3 empty "$ZL_TEST_BUCKET" "$s3_root-$n/"
}
for when in before after; do
    kill_at POST '[?]uploads' $when
    kill_at PUT 'partNumber=1(&|$)' $when
    kill_at PUT 'partNumber=' $when 0 3
    kill_at POST 'uploadId=' $when
    kill_at PUT 'meta.json' $when
    kill_at PUT 'refs/' $when
done
kill_at PUT 'partNumber=2(&|$)' mid 2000000
kill_at PUT 'partNumber=' mid 1000 4
