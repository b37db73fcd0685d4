#!/bin/bash
# Goal: no flipped bit is ever accepted, by push, by unpack, or by pull from a damaged store, and what
# a pull wrote before it noticed does not look whole to plain tar either.
. "$(dirname "$0")/../support/lib.sh"

mktree --only small "$T/tree"
zl-pack "$T/tree" >"$T/layer"
python3 "$support/layerfmt.py" frames "$T/layer" >"$T/frames"
zl-push --name good <"$T/layer" >/dev/null
object=$(echo "$T"/store/layers/*.tar.zst)
cmp "$object" "$T/layer"

say "push and unpack: every byte of frame headers, table of contents, trailer, seek table; samples"
cat >"$T/flip.py" <<'PY'
import random, subprocess, sys, os
layer, frames, kind = sys.argv[1:4]
blob = open(layer, 'rb').read()
rows = [line.split() for line in open(frames)]
chosen = set()
for offset, size, variant in rows:
    offset, size = int(offset), int(size)
    whole = variant != 'data' and kind != 'pull'
    chosen.update(range(offset, offset + (size if whole else min(size, 24))))
    chosen.update(range(offset + size - 6, offset + size))
chosen = sorted(chosen | set(random.Random(1).sample(range(len(blob)), 60)))
bad = []
for n, at in enumerate(chosen):
    flipped = bytearray(blob)
    flipped[at] ^= 1 << (n % 8)
    if kind == 'pull':
        with open(os.environ['OBJECT'], 'r+b') as f:
            f.write(flipped)
        run = subprocess.run(['zl-pull', '--retry-for', '1s', 'good'], capture_output=True)
        listed = subprocess.run('zstd -dcq | tar -t', shell=True, input=run.stdout,
                                capture_output=True)
        if listed.returncode == 0:
            bad.append('%d: plain tar took it' % at)
    elif kind == 'push':
        run = subprocess.run(['zl-push', '--name', 'bad'], input=flipped, capture_output=True)
    else:
        run = subprocess.run(['zl-unpack', '-C', os.environ['T'] + '/out'], input=flipped,
                             capture_output=True)
        if os.path.exists(os.environ['T'] + '/out'):
            bad.append('%d: something was unpacked' % at)
            break
    if run.returncode != 65:
        bad.append('%d bit %d: exit %d %s' % (at, n % 8, run.returncode, run.stderr[:200]))
print('\n'.join(bad[:20]))
print(kind, len(chosen), 'flips,', len(bad), 'accepted')
sys.exit(bool(bad))
PY
export T # for flip.py
python3 "$T/flip.py" "$T/layer" "$T/frames" unpack
python3 "$T/flip.py" "$T/layer" "$T/frames" push
[ "$(stored_layers)$(stored_refs)" = 11 ] || fail "a damaged stream was stored: $(store_list)"

say "pull"
cp "$object" "$T/saved"
OBJECT=$object python3 "$T/flip.py" "$T/layer" "$T/frames" pull
cp "$T/saved" "$object"
zl-pull good | cmp - "$T/layer"

say "a short object, and one with bytes after its end"
for change in 'truncate -s -1' 'truncate -s -600' 'truncate -s 0' 'truncate -s +1'; do
    cp "$T/saved" "$object"
    $change "$object"
    expect_exit 65 zl-pull --retry-for 1s good
    ! zstd -dcq <"$OUT" 2>/dev/null | tar -t >/dev/null 2>&1 || fail "$change: looks whole"
done
