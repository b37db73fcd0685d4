#!/usr/bin/env python3
"""zshcomplete.py FUNCTIONS WORD...  -- what zsh offers for the last WORD, sorted, with commas between

Completion runs in zsh's line editor only, so the words are typed at a terminal. FUNCTIONS is the
directory with the completions."""
import os
import pty
import select
import sys
import tempfile
import time

SETUP = r'''
PS1=
fpath=($1 $fpath)
results=$2
autoload -Uz compinit && compinit -D -u
compadd() {
    # Calls with -A, -D and -O add nothing.
    if [[ " ${(j: :)@[1,(i)--]} " != *\ -[ADO]\ * ]]; then
        local -a found
        builtin compadd -O found "$@"
        print -rl -- $found >>$results
    fi
    builtin compadd "$@"
}
capture() { _main_complete; print >$results.done }
zle -C capture complete-word capture
bindkey '^I' capture
print >$results.ready
'''


def main():
    functions, words = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as work:
        results = work + '/results'
        with open(work + '/setup', 'w', encoding='utf8') as f:
            f.write(SETUP)
        child, terminal = pty.fork()
        if child == 0:
            os.environ['TERM'] = 'dumb'
            os.execvp('zsh', ['zsh', '-f', '-i'])

        def type_until(text, path):
            os.write(terminal, text.encode())
            deadline = time.monotonic() + 20
            while not os.path.exists(path):
                if time.monotonic() > deadline:
                    sys.exit('zshcomplete.py: zsh does not answer')
                if select.select([terminal], [], [], 0.02)[0]:
                    os.read(terminal, 65536)

        try:
            type_until('source %s/setup %s %s\n' % (work, functions, results), results + '.ready')
            type_until(' '.join(words) + '\t', results + '.done')
            found = ''
            if os.path.exists(results):
                with open(results, encoding='utf8') as f:
                    found = f.read()
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
        print(','.join(sorted({x for x in found.split('\n') if x})))


if __name__ == '__main__':
    main()
