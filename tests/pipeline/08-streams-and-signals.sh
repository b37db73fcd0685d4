#!/bin/bash
# Goal: stdout is the payload and nothing else, success is silent, a reader that leaves ends us
# silently with 141, and signals end us with 128+n, cleaned up, within two seconds.
. "$(dirname "$0")/../support/lib.sh"

mktree --only files "$T/tree"
say "silence"
zl-pack "$T/tree" >"$T/layer" 2>"$ERR"
expect_empty "$ERR"
expect_exit 0 zl-push --name web1 <"$T/layer"
expect_empty "$ERR"
[[ $(cat "$OUT") =~ ^sha256:[0-9a-f]{64}$ ]] || fail "stdout: $(cat "$OUT")"
[ "$(wc -c <"$OUT")" = 72 ]
expect_exit 0 zl-push --name web1 <"$T/layer" # already stored
[ "$(wc -c <"$OUT")" = 72 ]
expect_exit 0 zl-pull web1
expect_empty "$ERR"
cmp "$OUT" "$T/layer"
expect_exit 0 zl-unpack -C "$T/out" <"$T/layer"
expect_empty "$OUT"
expect_empty "$ERR"

say "talk goes to stderr, the payload stays pure"
for noise in -v -vv -vvv '--progress 1s' '--progress always' '--log-format json'; do
    # shellcheck disable=SC2086
    zl-pack $noise "$T/tree" 2>/dev/null | cmp - "$T/layer"
    # shellcheck disable=SC2086
    zl-pull $noise web1 2>/dev/null | cmp - "$T/layer"
done
zl-push -vvv --log-format json --name web1 <"$T/layer" 2>"$ERR" >"$OUT"
[ "$(wc -c <"$OUT")" = 72 ]
jq -e . <"$ERR" >/dev/null || fail "not JSON lines: $(head -3 "$ERR")"
zl-push --json --name web1 <"$T/layer" | jq -e '.digest | test("^(sha256:)?[0-9a-f]{64}$")' >/dev/null

say "help and version"
for tool in zl-pack zl-push zl-pull zl-unpack; do
    expect_exit 0 $tool --help
    expect_empty "$ERR"
    expect_grep "^ *(Usage|usage): $tool|$tool " "$OUT"
    expect_exit 0 $tool -h
    expect_exit 0 $tool --version
    expect_grep "^$tool [0-9]" "$OUT"
    expect_exit 0 $tool --print-config
done

say "SIGPIPE"
for command in "zl-pack $T/tree" "zl-pull web1"; do
    code=0
    bash -c "$command 2>'$ERR' | head -c 1000 >/dev/null; exit \${PIPESTATUS[0]}" || code=$?
    [ $code = 141 ] || fail "$command: exit $code"
    expect_empty "$ERR"
done

say "SIGTERM and SIGINT while waiting for input"
export T # for the script below
for signal in TERM INT HUP; do
    number=$(kill -l $signal)
    for command in 'zl-push --name sig' "zl-unpack -C $T/sig"; do
        python3 - "$number" $command <<'PY'
import os, signal, subprocess, sys, time
number, command = int(sys.argv[1]), sys.argv[2:]
p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                     restore_signals=True)
with open(os.environ['T'] + '/layer', 'rb') as f:
    p.stdin.write(f.read(100000))
    p.stdin.flush()
time.sleep(0.3)
p.send_signal(number)
start = time.monotonic()
out = p.stdout.read()
code = p.wait(10)
took = time.monotonic() - start
assert code in (128 + number, -number), 'exit %d' % code
assert code == 128 + number, 'ended by the signal, not by itself'
assert took < 2, 'took %.1f s' % took
assert out == b'', out
PY
        [ ! -e "$T/sig" ] || fail "$command left a directory"
    done
done
[ "$(stored_layers)" = 1 ]
[ -z "$(find "$T" -maxdepth 1 -name '*zl-*' ! -path "$T")" ] || fail "left over: $(ls -A "$T")"
