#!/bin/bash
# Goal: no archive, whatever it claims, touches anything outside of DIR, crashes the reader or makes
# it take memory; those that no honest packer writes are refused with 65 and leave no DIR.
. "$(dirname "$0")/../support/lib.sh"
need_root "so that file permissions protect nothing"

mkdir "$T/x"
python3 "$support/mkhostile.py" "$T/cases" "$T/x/canary"
[ "$(wc -l <"$T/cases/cases.tsv")" -ge 300 ]
cat >"$T/run.py" <<'PY'
import os, subprocess, sys, tempfile, threading
sys.path.insert(0, sys.argv[1])
import walker
top, mode = sys.argv[2], sys.argv[3]
work, cases = top + '/x', top + '/cases'
canary, target = work + '/canary', work + '/target'
CODES = {'refuse': (65,), 'accept': (0,), 'safe': (0, 3, 65), 'lenient': (0, 3, 65, 74)}


def plant():
    subprocess.run(['rm', '-rf', work], check=True)
    os.makedirs(canary + '/dir')
    for name in ('file', 'dir/file'):
        with open(canary + '/' + name, 'w') as f:
            f.write('untouched\n')
    if mode == 'merge':
        os.makedirs(target + '/had')
        with open(target + '/had/this', 'w') as f:
            f.write('before\n')


def state():
    return {p: {k: v for k, v in e.items() if k != 'alloc'}
            for p, e in walker.manifest(canary, []).items()}


def run(name, options):
    command = ['zl-unpack', *options.split(), '-C', target]
    if mode == 'merge':
        command.append('--merge')
    with open(os.path.join(cases, name), 'rb') as stdin, tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=stderr)
        guard = threading.Timer(60, child.kill)
        guard.start()
        _, status, usage = os.wait4(child.pid, 0)
        guard.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        return child.returncode, usage.ru_maxrss >> 10, stderr.read().decode('utf8', 'replace')


def wrong(name, expected, options):
    """What is wrong with this case; nothing is good."""
    code, memory, stderr = run(name, options)
    if code not in CODES[expected]:
        yield 'exit %d, class %s: %s' % (code, expected, stderr[:300].strip())
    if memory > 300:
        yield '%d MiB of memory' % memory
    if code == 65 and not stderr.startswith('zl-unpack: '):
        yield 'no message: %r' % stderr[:100]
    if state() != before:
        yield 'THE OUTSIDE CHANGED'
    if mode == 'fresh' and code in (65, 74) and os.path.lexists(target):
        yield 'refused, but the target is there'
    if mode == 'merge' and code in (65, 74) and sorted(os.listdir(target)) != ['had']:
        yield 'refused, but the target has %s' % os.listdir(target)
    others = set(os.listdir(work)) - {'canary', 'target'}
    if others:
        yield 'left behind: %s' % sorted(others)
    if os.path.isdir(target) and not os.path.islink(target):
        for path, entry in walker.manifest(target, []).items():
            if path.rpartition(b'/')[2] == b'smuggled' and expected != 'lenient':
                yield 'smuggled entry %r' % path
            for key in entry:
                if key in ('xattr:%s.overlay.%s' % (space, what) for space in ('trusted', 'user')
                           for what in ('redirect', 'metacopy')):
                    yield '%s on %r' % (key, path)


plant()
before = state()
bad = total = 0
for line in open(cases + '/cases.tsv'):
    name, expected, options = line.rstrip('\n').split('\t')
    total += 1
    found = list(wrong(name, expected, options))
    if found:
        bad += 1
        print('%s %s: %s' % (mode, name, '; '.join(found)))
    plant()
    before = state()
print(mode, total, 'cases,', bad, 'wrong')
sys.exit(bool(bad))
PY
code=0
python3 "$T/run.py" "$support" "$T" fresh || code=1
python3 "$T/run.py" "$support" "$T" merge || code=1
[ $code = 0 ]
