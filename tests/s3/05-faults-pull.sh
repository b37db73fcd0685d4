#!/bin/bash
# Goal: a pull rides out what networks do, byte for byte, and what arrives wrong never looks whole.
. "$(dirname "$0")/../support/lib.sh"
use_proxy

mkdir "$T/tree"
head -c 20000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
zl-push --name web1 <"$T/layer" >/dev/null
get='"method":"GET","path":"tar.zst"'
pull() { zl-pull --part-size 2MiB "$@" web1; }
rides_out() { # WHAT RULES
    clear_log
    rules "$2"
    expect_exit 0 pull --retry-for 60s
    fired || fail "$1: the fault did not happen"
    cmp "$OUT" "$T/layer" || fail "$1"
}
rides_out "503" '[{"action":"status","count":3}]'
rides_out "reset" "[{$get,\"action\":\"reset_before\",\"count\":3}]"
rides_out "cut in the middle" "[{$get,\"action\":\"truncate_response\",\"bytes\":1000000,\"count\":3}]"
rides_out "cut with a reset" "[{$get,\"action\":\"truncate_response\",\"bytes\":1,\"rst\":true,\"count\":3}]"
rides_out "reply lost" "[{$get,\"action\":\"lose_response\",\"count\":2}]"

say "resumed at the byte reached, not from the start of the range"
total=$(control GET /log | jq '[.[] | select(.method == "GET" and (.path | test("tar.zst"))) | .resp] | add')
clear_log
rules "[{$get,\"action\":\"truncate_response\",\"bytes\":1900000,\"count\":4}]"
expect_exit 0 pull --jobs 1
total=$(control GET /log | jq '[.[] | select(.method == "GET" and (.path | test("tar.zst"))) | .resp] | add')
[ "$total" -le $(($(stat -c %s "$T/layer") + 1500000)) ] || fail "$total bytes for $(stat -c %s "$T/layer")"

say "corrupted on the way: never whole, 65 or fetched again"
for at in 5 700000 1999999; do
    rules "[{$get,\"skip\":3,\"action\":\"corrupt_response\",\"bytes\":$at}]"
    code=0
    pull --retry-for 5s >"$OUT" 2>"$ERR" || code=$?
    [ $code = 65 ] || { [ $code = 0 ] && cmp "$OUT" "$T/layer"; } || fail "exit $code"
    if [ $code = 65 ]; then
        ! zstd -dcq <"$OUT" 2>/dev/null | tar -t >/dev/null 2>&1 || fail "looks whole"
    fi
    rules "[{$get,\"skip\":3,\"action\":\"corrupt_response\",\"bytes\":$at}]"
    expect_exit 0 pull -o "$T/o" # a final mismatch starts once more from zero
    cmp "$T/o" "$T/layer"
    rm "$T/o"
done

say "-o continues what a killed run left"
rules "[{$get,\"skip\":5,\"action\":\"hold\",\"when\":\"after\"}]"
zl-pull --part-size 2MiB --jobs 1 -o "$T/o" web1 2>"$ERR" & # no function: its pid is killed
pid=$!
within 30 held
kill -KILL $pid
wait $pid 2>/dev/null || true
control PUT /drop >/dev/null
control DELETE /rules >/dev/null
[ ! -e "$T/o" ]
clear_log
expect_exit 0 pull --jobs 1 -o "$T/o"
cmp "$T/o" "$T/layer"
total=$(control GET /log | jq '[.[] | select(.method == "GET" and (.path | test("tar.zst"))) | .resp] | add')
[ "$total" -le $(($(stat -c %s "$T/layer") - 8 * 1000000)) ] || fail "fetched $total bytes again"
[ -z "$(find "$T" -maxdepth 1 -name '.o*')" ]

say "the object is replaced while it is pulled"
zl-pack --level 9 "$T/tree" >"$T/layer9"
rules "[{$get,\"skip\":4,\"action\":\"hold\"}]"
pull --jobs 1 >"$OUT" 2>"$ERR" &
pid=$!
within 30 held
head -c 1000 /dev/urandom >"$T/other"
key=$(store_list layers/ | sed -n 's/^[0-9]* \(.*tar.zst\)$/\1/p')
s3 put "$ZL_TEST_BUCKET" "$s3_root/$key" "$T/other"
control PUT /release >/dev/null
code=0
wait $pid || code=$?
[ $code != 0 ] || fail "half of one object and half of another were accepted"
! zstd -dcq <"$OUT" 2>/dev/null | tar -t >/dev/null 2>&1 || fail "looks whole"
zl-push --force --name web1 <"$T/layer" >/dev/null

say "given up: 75; refused: 77; gone: 66"
rules '[{"method":"GET","action":"status","count":-1}]'
expect_exit 75 pull --retry-for 2s
rules '[{"action":"status","status":403,"code":"AccessDenied","count":-1}]'
expect_exit 77 pull
control DELETE /rules >/dev/null
s3 delete "$ZL_TEST_BUCKET" "$s3_root/$key"
expect_exit 66 pull

say "signals while data flows"
zl-push --force --name web1 <"$T/layer" >/dev/null
rules "[{\"action\":\"throttle\",\"bps\":500000,\"count\":-1}]"
for signal in TERM INT; do
    python3 - $signal <<'PY'
import os, signal, subprocess, sys, time
number = getattr(signal, 'SIG' + sys.argv[1])
p = subprocess.Popen(['zl-pull', 'web1'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep(1)
p.send_signal(number)
start = time.monotonic()
code = p.wait(20)
assert code == 128 + number, code
assert time.monotonic() - start < 2, time.monotonic() - start
PY
done
