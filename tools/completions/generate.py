#!/usr/bin/env python3
"""generate.py bash|zsh|fish TOOL  -- one shell's completion of a tool, to stdout

Reads from stdin what `TOOL --print-options` prints (tools/options.hpp has its form), fills it into
the template beside this script and adds nothing: how a shell completes is in its template."""
import os
import re
import shlex
import sys


class Option:
    def __init__(self, names, value, repeatable, text):
        self.names = names.split(',')
        self.value = value
        self.repeatable = repeatable == '1'
        self.text = text


def kind_of(word):
    """What to complete where WORD stands: files, dirs, the words to choose from, or nothing."""
    word = word.strip('[].')
    if word in ('FILE', 'DB'):
        return 'files'
    if word == 'DIR':
        return 'dirs'
    # `oci|overlay`; of `SIZE|none` only `none` can be typed as it stands
    choices = [w for w in word.split('|') if re.fullmatch(r'[a-z0-9-]+', w)]
    return ' '.join(choices)


def parse(lines):
    options, operand, command = [], None, False
    for line in lines:
        what, *fields = line.rstrip('\n').split('\t')
        if what == 'option':
            options.append(Option(*fields))
        elif what == 'operand':
            operand = kind_of(fields[0])
        elif what == 'command':
            command = True
        else:
            sys.exit('generate.py: not a line of --print-options: %r' % line)
    if not options:
        sys.exit('generate.py: no options')
    return options, operand, command


def bash(options, operand, command):
    rows = ['    %s) kind=%s ;;' % ('|'.join(o.names), shlex.quote(kind_of(o.value) or 'any'))
            for o in options if o.value]
    return {'OPTIONS': ' '.join(name for o in options for name in o.names),
            'VALUES': '\n'.join(rows),
            'OPERAND': operand or 'any', 'COMMAND': '1' if command else ''}


def zsh(options, operand, command):
    actions = {'files': '_files', 'dirs': '_files -/', '': ' '}

    def action(kind):
        return actions.get(kind) or '(%s)' % kind

    specs = []
    for o in options:
        text = re.sub(r'([\\\]\[:])', r'\\\1', o.text)
        # After `--name=` and after `--name `; `-oFILE` too.
        names = [n + ('' if not o.value else '=' if n.startswith('--') else '+') for n in o.names]
        value = ':%s:%s' % (o.value.replace(':', ''), action(kind_of(o.value))) if o.value else ''
        others = '' if o.repeatable else '(%s)' % ' '.join(o.names)
        for name in names:
            star = '*' if o.repeatable else ''
            specs.append(shlex.quote('%s%s%s[%s]%s' % (others, star, name, text, value)))
    if operand is not None:
        specs.append(shlex.quote('*:operand:' + action(operand)))
    return {'SPECS': ' \\\n'.join('        ' + s for s in specs), 'COMMAND': '1' if command else ''}


def fish(options, operand, command):
    def action(kind):
        return {'files': ' -r -F', 'dirs': " -x -a '(__fish_complete_directories)'",
                '': ' -x'}.get(kind) or ' -x -a %s' % shlex.quote(kind)

    lines = []
    for o in options:
        names = ''.join(' -l ' + n[2:] if n.startswith('--') else ' -s ' + n[1:] for n in o.names)
        value = action(kind_of(o.value)) if o.value else ''
        # fish knows two escapes between single quotes
        text = o.text.replace('\\', '\\\\').replace("'", "\\'")
        lines.append("complete -c @TOOL@ -n 'not __zl_after_dashes'%s%s -d '%s'" % (names, value, text))
    place = {'files': '-F', 'dirs': "-f -a '(__fish_complete_directories)'"}.get(operand, '-f')
    lines.append("complete -c @TOOL@ -n 'not __zl_after_dashes' " + place)
    if command:
        lines.append("complete -c @TOOL@ -n __zl_after_dashes -x -a '(__zl_complete_command)'")
    return {'LINES': '\n'.join(lines)}


def main():
    shells = {'bash': bash, 'zsh': zsh, 'fish': fish}
    if len(sys.argv) != 3 or sys.argv[1] not in shells:
        sys.exit('usage: generate.py bash|zsh|fish TOOL <OPTIONS')
    shell, tool = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, 'completion.%s.in' % shell), encoding='utf8') as f:
        text = f.read()
    for name, value in shells[shell](*parse(sys.stdin)).items():
        text = text.replace('@%s@' % name, value)
    sys.stdout.write(text.replace('@TOOL@', tool).replace('@FUNCTION@', tool.replace('-', '_')))


if __name__ == '__main__':
    main()
