#!/usr/bin/env python3
"""typist.py TEXT KEYS COMMAND   -- runs COMMAND by bash on a terminal of its own, types KEYS once TEXT
has been shown (`^C` is Ctrl-C), prints what was shown, and ends as COMMAND did: with its exit code, or
with 128+n if signal n ended it. 1 and a message if TEXT did not come within 20 s."""
import os
import pty
import select
import signal
import sys
import time

text, keys, command = sys.argv[1:]
keys = keys.replace('^C', '\x03').encode()
pid, terminal = pty.fork()
if pid == 0:
    os.execvp('bash', ['bash', '-c', command])
shown, typed, end = b'', False, time.monotonic() + 20
while True:
    if not typed and time.monotonic() > end:
        os.kill(pid, signal.SIGKILL)
        sys.exit('typist: %r never came, only %r' % (text, shown[-300:]))
    if not select.select([terminal], [], [], 0.1)[0]:
        continue
    try:
        data = os.read(terminal, 65536)
    except OSError:
        data = b''
    if not data:
        break
    shown += data
    if not typed and text.encode() in shown:
        os.write(terminal, keys)
        typed = True
status = os.waitpid(pid, 0)[1]
sys.stdout.buffer.write(shown)
sys.stdout.flush()
if not typed:
    sys.exit('typist: %r never came' % text)
sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
