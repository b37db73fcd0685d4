#!/usr/bin/env python3
"""promtext.py FILE...            -- checks metrics files against the rules of the text format (0.0.4)
and of Prometheus' naming, and prints the names in them, one a line
promtext.py --dashboard FILE      -- prints the names that a Grafana dashboard asks for

https://prometheus.io/docs/instrumenting/exposition_formats/ and .../practices/naming/"""
import json
import re
import sys

NAME = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
SAMPLE = re.compile(r'(%s)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)$' % NAME)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
TYPES = ('counter', 'gauge')


def check(path):
    def fail(number, why):
        sys.exit('%s:%d: %s' % (path, number, why))
    with open(path, encoding='utf8', newline='') as f:
        text = f.read()
    if not text.endswith('\n') or '\r' in text:
        fail(0, 'does not end in a line feed, or has a carriage return')
    helped, typed, done, series = set(), {}, set(), set()
    current = None
    for number, line in enumerate(text[:-1].split('\n'), 1):
        if line.startswith('# '):
            match = re.match(r'# (HELP|TYPE) (%s) (.+)$' % NAME, line)
            if not match:
                fail(number, 'neither HELP nor TYPE with a text: ' + line)
            kind, name, rest = match.groups()
            if name in done or name != current and (name in helped or name in typed):
                fail(number, 'not all lines of %s are together' % name)
            if kind == 'HELP':
                if name in helped:
                    fail(number, 'a second HELP of ' + name)
                helped.add(name)
            else:
                if name in typed or rest not in TYPES:
                    fail(number, 'a second TYPE, or an unknown one: ' + line)
                typed[name] = rest
            if current and current != name:
                done.add(current)
            current = name
            continue
        match = SAMPLE.match(line)
        if not match:
            fail(number, 'no sample: ' + line)
        name, labels, value = match.groups()
        if name != current or name not in helped or name not in typed:
            fail(number, 'no HELP and TYPE right before the samples of ' + name)
        pairs = LABEL.findall(labels)
        if len({k for k, _ in pairs}) != len(pairs) or any(k.startswith('__') for k, _ in pairs):
            fail(number, 'a label twice, or a reserved one: ' + line)
        if (name, tuple(sorted(pairs))) in series:
            fail(number, 'the same series twice: ' + line)
        series.add((name, tuple(sorted(pairs))))
        if not 0 <= float(value) < float('inf'):
            fail(number, 'a value that none of ours has: ' + line)
        # Counters end in _total and only they do; base units, in full, the name of the program first.
        if (typed[name] == 'counter') != name.endswith('_total'):
            fail(number, '%s is a %s' % (name, typed[name]))
        if not re.match(r'zl_[a-z][a-z0-9_]*$', name) or \
                re.search(r'_(ms|milliseconds|minutes|hours|kib|mib|kb|mb|count|sum|bucket)$', name):
            fail(number, 'bad name ' + name)
        if ('time' in name.split('_') or 'timestamp' in name) and not name.endswith('_seconds'):
            fail(number, 'a time that does not end in _seconds: ' + name)
    for name in set(typed) ^ helped | set(typed) - {name for name, _ in series}:
        fail(0, 'HELP, TYPE and samples of %s do not belong together' % name)
    return typed


def dashboard(path):
    with open(path, encoding='utf8') as f:
        board = json.load(f)
    texts = [t['expr'] for p in board['panels'] for t in p['targets']]
    texts += [v['query'] for v in board['templating']['list'] if v['type'] == 'query']
    ids = [p['id'] for p in board['panels']]
    if len(texts) < 10 or len(set(ids)) != len(ids):
        sys.exit(path + ': panels not understood')
    # What stands in quotes is values of labels.
    return {n for t in texts for n in re.findall(r'\bzl_\w+', re.sub(r'"[^"]*"', '', t))}


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == '--dashboard':
        names = dashboard(sys.argv[2])
    else:
        names = set().union(*(check(path) for path in sys.argv[1:]))
    print('\n'.join(sorted(names)))
