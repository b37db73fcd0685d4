#!/bin/bash
# Goal: a push rides out what servers and networks do, tells ambiguity by looking, and gives up with
# 75 and its state saved; what cannot get better ends at once with its own code.
. "$(dirname "$0")/../support/lib.sh"
use_proxy

mkdir "$T/tree"
head -c 16000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
base=$ZL_STORE n=0
fresh() {
    control DELETE /rules >/dev/null
    n=$((n + 1))
    rm -rf "$ZL_STATE_DIR"
    ZL_STORE=${base/$s3_root/$s3_root-$n}
    clear_log
}
push() { zl-push --name web1 --part-size "${part_size:-5MiB}" "$@" <"$T/layer"; }
good() { # WHAT
    control DELETE /rules >/dev/null
    [[ $(cat "$OUT") = sha256:* ]] || fail "$1: no digest"
    zl-pull web1 | cmp - "$T/layer" || fail "$1"
    [ -z "$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root-$n/")" ] || fail "$1: an upload is left"
    s3 empty "$ZL_TEST_BUCKET" "$s3_root-$n/"
}
rides_out() { # WHAT RULES
    fresh
    rules "$2"
    expect_exit 0 push --retry-for 60s
    fired || fail "$1: the fault did not happen"
    good "$1"
}
put='"method":"PUT"' post='"method":"POST"'
part='"path":"partNumber="' complete='"path":"uploadId="' create='"path":"[?]uploads"'
say "multipart"
rides_out "503 on everything once in a while" '[{"action":"status","prob":0.3,"count":6}]'
rides_out "SlowDown with Retry-After" "[{$put,$part,\"action\":\"status\",\"retry_after\":1}]"
rides_out "500 on parts" "[{$put,$part,\"action\":\"status\",\"status\":500,\"code\":\"InternalError\",\"count\":2}]"
rides_out "early 503 during the body" "[{$put,$part,\"action\":\"status\",\"early\":true,\"count\":2}]"
rides_out "reset in a part" "[{$put,$part,\"action\":\"reset_after_req_bytes\",\"bytes\":2000000,\"count\":2}]"
rides_out "part reply lost" "[{$put,$part,\"action\":\"lose_response\",\"count\":2}]"
rides_out "part corrupted on the way" "[{$put,$part,\"action\":\"corrupt_request\",\"bytes\":1234567}]"
rides_out "complete: reply lost" "[{$post,$complete,\"action\":\"lose_response\"}]"
rides_out "complete: 200 with an error" "[{$post,$complete,\"action\":\"error_in_200\"}]"
rides_out "complete: 503" "[{$post,$complete,\"action\":\"status\",\"count\":2}]"
rides_out "complete: reset before" "[{$post,$complete,\"action\":\"reset_before\"}]"
rides_out "create: 503" "[{$post,$create,\"action\":\"status\",\"count\":2}]"
rides_out "meta.json: reply lost" "[{$put,\"path\":\"meta.json\",\"action\":\"lose_response\"}]"
rides_out "ref: reply lost" "[{$put,\"path\":\"refs/\",\"action\":\"lose_response\"}]"
rides_out "ref: 500" "[{$put,\"path\":\"refs/\",\"action\":\"status\",\"status\":500,\"code\":\"InternalError\"}]"
[ "$(stored_refs)" -le 1 ] || fail "a lost reply made two refs"

say "the upload vanished under us (NoSuchUpload)"
fresh
rules "[{$put,$part,\"skip\":1,\"action\":\"status\",\"status\":404,\"code\":\"NoSuchUpload\",\"count\":1}]"
expect_exit 0 push --retry-for 60s
fired
control DELETE /rules >/dev/null
zl-pull web1 | cmp - "$T/layer"

say "one PUT"
part_size=64MiB
object='"path":"tar.zst"'
rides_out "reply lost" "[{$put,$object,\"action\":\"lose_response\"}]"
rides_out "200 with an error" "[{$put,$object,\"action\":\"error_in_200\"}]"
rides_out "corrupted on the way" "[{$put,$object,\"action\":\"corrupt_request\",\"bytes\":7654321}]"
rides_out "reset" "[{$put,$object,\"action\":\"reset_after_req_bytes\",\"bytes\":5000000,\"count\":2}]"
part_size=5MiB

say "a stalled transfer is noticed within 30 s"
fresh
rules "[{$put,$part,\"action\":\"stall\",\"seconds\":120}]"
start=$SECONDS
expect_exit 0 push --retry-for 2m
[ $((SECONDS - start)) -lt 75 ] || fail "took $((SECONDS - start)) s"
good stall

say "given up: 75, state saved, the next run continues"
fresh
rules "[{$put,$part,\"skip\":2,\"action\":\"status\",\"count\":-1}]"
expect_exit 75 push --retry-for 2s --jobs 1
expect_grep 'SlowDown|503' "$ERR"
expect_empty "$OUT"
[ "$(s3 list "$ZL_TEST_BUCKET" "$s3_root-$n/" | wc -l)" = 0 ]
control DELETE /rules >/dev/null
clear_log
expect_exit 0 push
[ "$(log_count '.method == "PUT" and (.path | test("partNumber=[12](&|$)"))')" = 0 ] ||
    fail "parts that were stored travelled again"
good "after giving up"
fresh
rules '[{"action":"reset_before","count":-1}]'
start=$SECONDS
expect_exit 75 push --retry-for 2s
[ $((SECONDS - start)) -lt 15 ]
control DELETE /rules >/dev/null
expect_exit 0 zl-push --resume
zl-pull web1 | cmp - "$T/layer"
control PUT /target/1 >/dev/null # nobody listens
expect_exit 75 zl-push --force --retry-for 1s --name x <"$T/layer"
control PUT "/target/${ZL_TEST_ENDPOINT##*:}" >/dev/null

say "what does not get better: at once"
fresh
AWS_SECRET_ACCESS_KEY=wrong expect_exit 77 push --retry-for 60s
expect_grep 'SignatureDoesNotMatch|403|credential' "$ERR"
expect_no_grep 'wrong' "$ERR"
fresh
(
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    expect_exit 77 push
    expect_grep 'credential' "$ERR"
)
fresh
ZL_STORE=${ZL_STORE/$ZL_TEST_BUCKET/no-such-bucket} expect_exit 66 push
expect_grep 'no-such-bucket' "$ERR"
fresh
rules '[{"method":"PUT","action":"status","status":403,"code":"AccessDenied","count":-1}]'
start=$SECONDS
expect_exit 77 push --retry-for 60s
[ $((SECONDS - start)) -lt 5 ] || fail "403 was retried"
