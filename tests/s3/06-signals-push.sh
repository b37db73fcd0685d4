#!/bin/bash
# Goal: SIGTERM and SIGINT during an upload end it within two seconds with 128+n; what was stored
# counts when the next run continues.
. "$(dirname "$0")/../support/lib.sh"
use_proxy

mkdir "$T/tree"
head -c 30000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
export T
for signal in TERM INT; do
    rm -rf "$ZL_STATE_DIR"
    s3 empty "$ZL_TEST_BUCKET" "$s3_root/"
    clear_log
    rules '[{"method":"PUT","path":"partNumber=","skip":2,"action":"throttle","bps":200000,"count":-1}]'
    python3 - $signal <<'PY'
import os, signal, subprocess, sys, time
number = getattr(signal, 'SIG' + sys.argv[1])
with open(os.environ['T'] + '/layer') as layer:
    p = subprocess.Popen(['zl-push', '--name', 'web1', '--part-size', '5MiB', '--jobs', '2'],
                         stdin=layer, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
time.sleep(3)
assert p.poll() is None, 'ended early: %s' % p.stderr.read()
p.send_signal(number)
start = time.monotonic()
code = p.wait(20)
took = time.monotonic() - start
assert code == 128 + number, code
assert took < 2, 'took %.1f s' % took
assert p.stdout.read() == b''
PY
    control DELETE /rules >/dev/null
    expect_exit 0 zl-push --resume --jobs 2
    zl-pull web1 | cmp - "$T/layer"
    total=$(log_count '.method == "PUT" and (.path | test("partNumber="))')
    [ "$total" -le $((6 + 2)) ] || fail "$signal: $total parts were sent, 6 needed"
    [ -z "$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root/")" ]
done
