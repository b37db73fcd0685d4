#!/bin/bash
# Goal: what somebody at a terminal sees of a push: where it would go, how far it is, that the store
# does not answer and for how long it is tried, that Ctrl-C keeps what was sent, and how it goes on.
. "$(dirname "$0")/../support/lib.sh"
use_proxy

export T TERM=xterm
mkdir "$T/tree"
head -c 16000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
typed() { # COMMAND [CODE]
    local code=0
    SHELL=/bin/bash script -qec "$1" /dev/null </dev/null >"$OUT" 2>&1 || code=$?
    [ $code = "${2:-0}" ] || fail "$1: exit $code, expected ${2:-0}: $(cat "$OUT")"
}
part='"method":"PUT","path":"partNumber="'

say "before anything is sent: endpoint, region, credentials, rights"
typed 'zl-push -n --name web1'
expect_grep "^endpoint +http://127.0.0.1:$proxy_port" "$OUT"
expect_grep '^region +us-east-1' "$OUT"
expect_grep '^credentials +the environment' "$OUT"
expect_grep '^writable +yes' "$OUT"
[ -z "$(s3 list "$ZL_TEST_BUCKET" "$s3_root/")$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root/")" ] ||
    fail "a dry run left something in the store"

say "bytes, percent, rate, time left, parts"
typed "zl-push --bwlimit 8MiB --part-size 5MiB --jobs 1 --name web1 <$T/layer >/dev/null"
expect_grep 'uploading [0-9.]+ MiB of 15.3 MiB, [0-9]+%, [0-9.]+ [KM]iB/s, ETA [0-9.]+s, parts [0-9]/4' "$OUT"

say "the store does not answer: that is said, with the patience that is left, and it goes on"
clear_log
rules "[{$part,\"skip\":1,\"action\":\"status\",\"count\":4}]"
# The limit leaves time to draw what comes after it.
typed "zl-push --force --bwlimit 8MiB --part-size 5MiB --jobs 1 --retry-for 9m --progress auto --name web1 <$T/layer >/dev/null"
fired
expect_grep 'uploading [0-9.]+ MiB of 15.3 MiB, [0-9]+%, 503 SlowDown, retrying for (9m00s|8m[0-9]+s) more' "$OUT"
expect_grep 'parts [0-9]/4, retries [1-4]' "$OUT"
rules "[{$part,\"action\":\"status\",\"count\":3}]"
zl-push --force --part-size 5MiB --jobs 1 --progress 100ms --log-format json --metrics "$T/m" \
    --name web1 <"$T/layer" >/dev/null 2>"$ERR"
jq -es 'map(select(.retrying == "503 SlowDown" and .retrying_seconds_left > 500)) | length > 0' "$ERR" >/dev/null ||
    fail "JSON lines: $(head -5 "$ERR")"
expect_grep '^zl_retries_total\{.*\} 3$' "$T/m"
zl-push --force --part-size 5MiB --name web1 <"$T/layer" >/dev/null 2>"$ERR"
expect_empty "$ERR" # off a terminal, success is silent

say "Ctrl-C: by the signal, the input is kept; the next run says what it need not send"
control DELETE /rules >/dev/null
rm -rf "$ZL_STATE_DIR"
rules "[{$part,\"skip\":2,\"action\":\"hold\"}]"
expect_exit 130 python3 "$support/typist.py" 'parts 2/4' '^C' \
    "exec zl-push --force --part-size 5MiB --jobs 1 --name web1 <$T/layer"
expect_grep 'zl-push: interrupted: the input is saved \(/.*spool\), run the same command again' "$OUT"
control PUT /drop >/dev/null
control DELETE /rules >/dev/null
typed 'zl-push -n --name web1'
expect_grep '^unfinished +1 push, 10.0 MiB of 15.3 MiB stored' "$OUT"
typed "zl-push --resume"
expect_grep 'zl-push: resuming upload: 2 of 4 parts \(10.0 MiB of 15.3 MiB\) are already stored' "$OUT"
zl-pull web1 | cmp - "$T/layer"

say "who we are, and what is missing, when the store refuses (which right: 19-iam)"
AWS_SECRET_ACCESS_KEY=wrong expect_exit 77 zl-push -n --name web1
expect_grep '^store ' "$OUT"
expect_grep 'SignatureDoesNotMatch|403' "$ERR"
expect_grep '^hint: the credentials came from the environment .AWS_ACCESS_KEY_ID.$' "$ERR"
