#!/usr/bin/env python3
"""lint.py  -- holds the sources against the rules that a compiler does not know

Layers include only what lib/README.md allows; each C library is touched in one place; scripts
parse, and their assertions can fail; every tool has a man page; no left-over marks; lines fit."""
import os
import re
import subprocess
import sys

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
MAY_INCLUDE = {
    'base': [],
    'stream': ['base'],
    'state': ['base'],
    'store': ['base', 'stream', 'state'],
    'layer': ['base', 'stream'],
    'transfer': ['base', 'stream', 'state', 'store', 'layer'],
    'wal': ['base', 'stream', 'state', 'store'],
    'inventory': ['base', 'stream', 'state', 'store', 'layer', 'transfer', 'wal'],
    'prune': ['base', 'stream', 'state', 'store', 'layer', 'transfer', 'wal', 'inventory'],
}
# C library header -> the only files that may include it
ALONE = {
    r'nlohmann/': r'lib/base/json\.hpp',
    r'openssl/': r'lib/stream/(hash|versions)\.cpp',
    r'zstd': r'lib/stream/(zstd_stream|versions)\.cpp',
    r'sqlite3': r'lib/(state/(sqlite|versions)|wal/live_db)\.cpp|tests/unit/wal/.*',
    r'xxhash': r'lib/wal/page_hash\.cpp',
    r'curl/': r'lib/store/(http_transfer\.hpp|versions\.cpp)',
    r'pugixml': r'lib/store/s3_xml\.cpp',
    r'archive': r'lib/layer/\w+\.cpp',
    r'CLI/': r'tools/\w+\.cpp',
    r'doctest': r'tests/.*',
}
# transfer joins a layer stream to a store, it neither packs nor unpacks one
NOT_IN_TRANSFER = r'layer/(pack|unpack|tar_reader|tar_writer|beneath|lower|hardlinks|extract)'
problems = []


def complain(path, line, what):
    problems.append('%s:%d: %s' % (os.path.relpath(path, TOP), line, what))


def files(*roots):
    for root in roots:
        for where, dirs, names in os.walk(os.path.join(TOP, root)):
            dirs.sort()
            for name in sorted(names):
                yield os.path.join(where, name)


def check_includes(path, number, line):
    relative = os.path.relpath(path, TOP)
    parts = relative.split('/')
    layer = parts[1] if parts[0] == 'lib' else None
    own = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
    if own and layer:
        target = own.group(1).split('/')[0]
        if '/' not in own.group(1):
            complain(path, number, 'include with the layer: "LAYER/FILE.hpp"')
        elif target != layer and target not in MAY_INCLUDE[layer]:
            complain(path, number, 'layer %s may not include %s' % (layer, target))
        if layer == 'transfer' and re.match(NOT_IN_TRANSFER, own.group(1)):
            complain(path, number, 'transfer may not include %s' % own.group(1))
    system = re.match(r'\s*#\s*include\s+<([^>]+)>', line)
    if system:
        for header, where in ALONE.items():
            if re.match(header, system.group(1)) and not re.fullmatch(where, relative):
                complain(path, number, '<%s> belongs into %s only' % (system.group(1), where))


def check_sources():
    for path in files('lib', 'tools', 'tests/unit'):
        if not path.endswith(('.cpp', '.hpp')):
            continue
        with open(path, encoding='utf8') as f:
            lines = f.read().split('\n')
        if path.endswith('.hpp') and not any('#pragma once' in x for x in lines[:60]):
            complain(path, 1, 'no #pragma once')
        for number, line in enumerate(lines, 1):
            check_includes(path, number, line)
            # 100 is the rule; a little more where a break reads worse, as in tables of tests.
            if len(line) > (130 if '/tests/' in path else 110):
                complain(path, number, 'longer than 100 columns')
            if re.search(r'\b(TODO|FIXME|XXX)\b', line):
                complain(path, number, 'left open')
            if '\t' in line or line != line.rstrip():
                complain(path, number, 'tab or space at the end')


def types_of(path):
    """(line, name) of the types defined at namespace level, but for unnamed namespaces."""
    hidden = False
    with open(path, encoding='utf8') as f:
        for number, line in enumerate(f, 1):
            if re.match(r'namespace \{', line):
                hidden = True
            elif re.match(r'\} // namespace$', line):
                hidden = False
            found = re.match(r'(?:struct|class|enum class|enum|union) (\w+)(?!::|\w)[^;]*$', line)
            if found and not hidden:
                yield number, found.group(1)


def check_types():
    """One definition rule: the linker takes either of two types of a name, and says nothing."""
    known = {}
    for root in (['lib', 'tools'], ['tests/unit']):
        for path in files(*root):
            if not path.endswith(('.cpp', '.hpp')):
                continue
            scope = os.path.dirname(path) if 'unit' in root[0] else ''
            for number, name in types_of(path):
                other = known.get(('', name)) or known.get((scope, name))
                if other:
                    complain(path, number, 'type %s is also in %s' % (name, other))
                known[scope, name] = os.path.relpath(path, TOP)


def check_scripts():
    for path in files('scripts', 'tests', '.ci', 'recipes', 'tools'):
        if path.endswith('.py'):
            try:
                with open(path, encoding='utf8') as f:
                    compile(f.read(), path, 'exec')
            except SyntaxError as e:
                complain(path, e.lineno or 1, str(e))
        elif path.endswith('.sh') or '/.ci/' in path:
            run = subprocess.run(['bash', '-n', path], capture_output=True, text=True)
            if run.returncode:
                complain(path, 1, run.stderr.strip())


def statements(path):
    """(line, text) of a script's statements, without what is quoted, in parentheses, a comment or
    a here document."""
    with open(path, encoding='utf8') as f:
        script = f.read()
    begin, text, inside, here = 0, '', [], None
    tokens = re.compile(r'\\.|\$\(|<<-?\\?[\'"]?\w+[\'"]?|(?<!\S)#[^\n]*|.', re.DOTALL)
    at = 0
    while at < len(script):
        token = tokens.match(script, at).group()
        within = inside[-1] if inside else ''
        if within == "'" or (within == '"' and token[0] not in '\\$'):
            token = token[0]
        at += len(token)
        if within and token == within:
            inside.pop()
        elif within == "'" or (within == '"' and token not in ('"', '$(')):
            pass
        elif token in ("'", '"', '(', '$('):
            inside.append(token if token in '\'"' else ')')
        elif token.startswith('<<') and not within and re.search(r'\w', token):
            here = re.search(r'\w+', token).group()
        elif token[0] == '#' and len(token) > 1:
            pass
        elif here and token == '\n':
            at = re.compile(r'^\t*%s$' % here, re.MULTILINE).search(script, at).end()
            here = None
        elif not within and token in (';', '\n') and not text.rstrip().endswith(('&&', '|')):
            if text.strip():
                yield begin, text.strip()
            text = ''
        elif not within:
            if not text.strip():
                begin = script.count('\n', 0, at) + 1
            text += ' ' if token == '\\\n' else token
    if inside:
        complain(path, begin, 'lint.py cannot read this script: %s is open' % inside)


def check_assertions():
    """`! x` and the first half of `x && y` end no script, whatever `set -e` says: they are to be
    the exit code of a function, or to end with `|| fail`."""
    for path in files('tests'):
        if not path.endswith('.sh'):
            continue
        all_of_it = list(statements(path)) + [(0, '')]
        for (number, text), (_, following) in zip(all_of_it, all_of_it[1:]):
            text = re.sub(r'^(\w+ \{|do|then|else|\S*\))\s+', '', text)
            if re.search(r'^! |&&', text) and following != '}' and not re.search(
                    r'^(if|elif|while|until)\b|\|\||&& (return|break|continue|exit)\b', text):
                complain(path, number, 'fails in silence: end it with "|| fail", or split it')
        with open(path, encoding='utf8') as f:
            for number, line in enumerate(f, 1):
                if re.search(r'\bwait ("\$\{\w+\[@|"?\$\w+"? )|^\s*wait$', line) and '||' not in line:
                    complain(path, number, 'tells of the last process only: wait_all')


def check_manuals():
    for path in files('tools'):
        name = os.path.basename(path)
        if re.fullmatch(r'zl_\w+\.cpp', name):
            page = name[:-4].replace('_', '-') + '.1.scd'
            if not os.path.exists(os.path.join(TOP, 'man', page)):
                complain(path, 1, 'no man/%s' % page)


def main():
    check_sources()
    check_types()
    check_scripts()
    check_assertions()
    check_manuals()
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
