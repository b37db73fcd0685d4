#!/usr/bin/env python3
"""locktrace.py TRACE DB  -- judges what zl-walship did to a database, from `strace -f -yy`

Exit 1 with a line for each write into the database outside a checkpoint, each write into its WAL, each
descriptor of the database or its -shm that was closed while locks were held (POSIX drops them all), and
each moment without a read lock in which the write lock was not held either.
Lock bytes of the -shm: 120 write, 121 checkpoint, 123..127 read (https://sqlite.org/walformat.html)."""

import re
import sys
trace, db = sys.argv[1:]
reader = set()                # read locks of the wal-index that are held: bytes 123..127
write_locked = False          # byte 120
checkpointing = False         # byte 121
taken = False                 # the read lock is to be held from here on
begun = {}                    # pid -> the start of a call that was interrupted in the trace
writes = releases = 0
over = False
problems = []
for n, line in enumerate(open(trace, errors='replace'), 1):
    if 'SIGTERM' in line and 'si_signo' in line:
        over = True           # from here on it lets go
    pid = line.split(None, 1)[0]
    if '<unfinished ...>' in line:
        begun[pid] = line.split(' <unfinished')[0]
        continue
    if '... ' in line and ' resumed>' in line:
        line = begun.pop(pid, '') + line.split(' resumed>', 1)[1]
    call = re.match(r'\d+\s+(\w+)\((.*)', line)
    if call and call.group(1) == 'openat' and 'O_RDONLY' in line and '"%s-wal"' % db in line:
        taken = True          # our own descriptor is opened once the read lock is held
    if not call or '<' + db not in line:
        continue
    name, rest = call.groups()
    file = re.search('<(' + re.escape(db) + r'(?:-shm|-wal)?)>', rest)
    if not file:
        continue
    suffix = file.group(1)[len(db):]
    if name == 'close' and suffix != '-wal' and taken and not over:
        problems.append('%d: closes %s' % (n, file.group(1)))
    if name in ('pwrite64', 'write', 'ftruncate') and suffix != '-shm':
        writes += 1
        if suffix == '' and not checkpointing:
            problems.append('%d: writes into the database outside a checkpoint' % n)
        if suffix == '-wal':
            problems.append('%d: writes into the WAL' % n)
    lock = re.search(r'F_SETLK, \{l_type=F_(\w+), l_whence=SEEK_SET, l_start=(\d+), l_len=(\d+)', rest)
    if name == 'fcntl' and lock and suffix == '-shm' and ' = 0' in line:
        kind, start, length = lock.group(1), int(lock.group(2)), int(lock.group(3))
        for byte in range(start, start + length):
            if byte == 120:
                write_locked = kind == 'WRLCK'
            elif byte == 121:
                checkpointing = kind == 'WRLCK'
            elif 123 <= byte <= 127:
                if kind == 'UNLCK':
                    reader.discard(byte)
                else:
                    reader.add(byte)
        if taken and not reader and not over:
            releases += 1
            if not write_locked:
                problems.append('%d: no read lock and no barrier' % n)
print('%d writes by checkpoints, %d releases of the read lock' % (writes, releases))
if not taken or writes < 100:
    problems.append('the trace shows no work')
sys.exit('\n'.join(problems[:20]) if problems else 0)
