#!/usr/bin/env python3
"""walwriter.py  -- an application whose every acknowledged commit is known, and who checks for it

  write DB --rate TPS --seconds N --log FILE [--size BYTES] [--big] [--autocheckpoint N]
        [--synchronous MODE]
      inserts rows (id, time, blob, its SHA-256) in BEGIN IMMEDIATE .. COMMIT; after each commit
      appends `ID NANOSECONDS SHA256` to the log: what is there, the application was told is done.
      Ends after N seconds or at SIGTERM with one line of JSON: commits, busy, p50/p99/max in ms.
  checkpoint DB --mode passive|full|restart|truncate|all --every MS --seconds N
      runs checkpoints as a foreign process would.
  check SOURCE RESTORED [--log FILE]... [--until TIME [--slack SECONDS]]
      both pass integrity_check; RESTORED has every acknowledged row of the logs with its right
      content, no hole between its ids, and as many rows as its own tally says; without --until the
      two databases have the same dump; with it, all that was acknowledged SLACK before TIME is
      there and nothing that was begun after it. SOURCE `-`: there is none (only with --until).
"""
import argparse
import calendar
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

SCHEMA = '''
CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, ns INTEGER, data BLOB, sha TEXT);
CREATE TABLE IF NOT EXISTS tally (one INTEGER PRIMARY KEY, n INTEGER);
CREATE INDEX IF NOT EXISTS by_sha ON t (sha);
INSERT OR IGNORE INTO tally VALUES (1, 0);
'''


def connect(path, timeout=0.0):
    # timeout 0: SQLITE_BUSY comes at once, and is counted and repeated here.
    return sqlite3.connect(path, timeout=timeout, isolation_level=None)


def is_busy(error):
    return 'locked' in str(error) or 'busy' in str(error)


class Stop:
    """True once SIGTERM or SIGINT came."""
    def __init__(self):
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)

    def ask(self, *_):
        self.asked = True


def transaction(db, rows, size):
    """One commit; returns [(id, sha)]. Raises sqlite3.OperationalError when it is busy."""
    done = []
    db.execute('BEGIN IMMEDIATE')
    try:
        first = db.execute('SELECT coalesce(max(id), 0) FROM t').fetchone()[0] + 1
        for number in range(first, first + rows):
            data = random.randbytes(size // 2) + b'x' * (size - size // 2)
            sha = hashlib.sha256(data).hexdigest()
            db.execute('INSERT INTO t VALUES (?,?,?,?)', (number, time.time_ns(), data, sha))
            done.append((number, sha))
        db.execute('UPDATE tally SET n = n + ?', (rows,))
        db.execute('COMMIT')
        return done
    except BaseException:
        if db.in_transaction:
            db.execute('ROLLBACK')
        raise


def prepare(db, stop):
    while not stop.asked:
        try:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'tally'").fetchone():
                db.executescript('BEGIN IMMEDIATE;' + SCHEMA + 'COMMIT;')
            return
        except sqlite3.OperationalError as e:
            if not is_busy(e):
                raise
            if db.in_transaction:
                db.execute('ROLLBACK')
            time.sleep(0.002)


def write(o):
    stop = Stop()
    db = connect(o.database)
    db.execute('PRAGMA busy_timeout = 0')
    if o.autocheckpoint is not None:
        db.execute('PRAGMA wal_autocheckpoint = %d' % o.autocheckpoint)
    if o.synchronous is not None:
        db.execute('PRAGMA synchronous = ' + o.synchronous)
    prepare(db, stop)
    rows = 200 if o.big else 1
    log = os.open(o.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    taken, busy = [], 0
    begin = time.monotonic()
    while not stop.asked and time.monotonic() - begin < o.seconds:
        asked = time.monotonic()
        while True:
            try:
                done = transaction(db, rows, o.size)
                break
            except sqlite3.OperationalError as e:
                if not is_busy(e):
                    raise
                busy += 1
                if stop.asked:
                    return report(taken, busy)
                time.sleep(0.0005)
        taken.append((time.monotonic() - asked) * 1000)
        now = time.time_ns()
        os.write(log, ''.join('%d %d %s\n' % (i, now, sha) for i, sha in done).encode())
        if o.rate:
            ahead = begin + len(taken) / o.rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    return report(taken, busy)


def report(taken, busy):
    taken.sort()
    at = lambda part: round(taken[min(len(taken) - 1, int(len(taken) * part))], 3) if taken else 0
    print(json.dumps({'commits': len(taken), 'busy': busy, 'p50_ms': at(0.5), 'p99_ms': at(0.99),
                      'max_ms': at(1)}))
    return 0


def checkpoint(o):
    stop = Stop()
    db = connect(o.database)
    modes = ['passive', 'full', 'restart', 'truncate'] if o.mode == 'all' else [o.mode]
    count, busy = 0, 0
    end = time.monotonic() + o.seconds
    while not stop.asked and time.monotonic() < end:
        try:
            row = db.execute('PRAGMA wal_checkpoint(%s)' % random.choice(modes)).fetchone()
            count += 1
            busy += row[0]
        except sqlite3.OperationalError as e:
            if not is_busy(e):
                raise
            busy += 1
        time.sleep(o.every / 1000)
    print(json.dumps({'checkpoints': count, 'busy': busy}))
    return 0


# ---- check ----

problems = []


def complain(text):
    problems.append(text)
    if len(problems) <= 20:
        print('walwriter: ' + text, file=sys.stderr)


def open_to_read(path):
    # Read-only: closing it must not checkpoint, nor remove a WAL that the test is about.
    try:
        db = sqlite3.connect('file:%s?mode=ro' % os.path.abspath(path), uri=True, timeout=30)
        db.execute('SELECT count(*) FROM sqlite_master').fetchone()
        return db
    except sqlite3.OperationalError:
        return connect(path, 30)


def check_integrity(db, path):
    answer = [row[0] for row in db.execute('PRAGMA integrity_check(5)')]
    if answer != ['ok']:
        complain('%s: integrity_check: %s' % (path, answer))


def dump_hash(path):
    uri = 'file:%s?mode=ro' % os.path.abspath(path)
    shell = subprocess.Popen(['sqlite3', uri, '.timeout 30000', '.dump'],
                             stdout=subprocess.PIPE)
    total = hashlib.sha256()
    for part in iter(lambda: shell.stdout.read(1 << 20), b''):
        total.update(part)
    if shell.wait() != 0:
        complain('%s: .dump failed' % path)
    return total.hexdigest()


def acknowledged(logs):
    """{(id, sha): time of the last line that has it}"""
    out = {}
    for path in logs:
        with open(path, encoding='ascii') as f:
            for line in f:
                words = line.split()
                if len(words) == 3 and line.endswith('\n'):
                    out[int(words[0]), words[2]] = int(words[1])
    return out


def parse_time(text):
    if text.isdigit():
        return int(text)
    whole, _, fraction = text.rstrip('Z').partition('.')
    seconds = calendar.timegm(time.strptime(whole, '%Y-%m-%dT%H:%M:%S'))
    return seconds * 10**9 + int((fraction + '0' * 9)[:9])


def check_rows(db, path, until):
    """Every row has its right content; returns {(id, sha)}."""
    present, last, first = set(), None, None
    for number, ns, data, sha in db.execute('SELECT id, ns, data, sha FROM t ORDER BY id'):
        if hashlib.sha256(data).hexdigest() != sha:
            complain('%s: row %d has a wrong content' % (path, number))
        if last is not None and number != last + 1:
            complain('%s: rows %d to %d are missing' % (path, last + 1, number - 1))
        if until is not None and ns > until:
            complain('%s: row %d was begun %.3f s after the moment' %
                     (path, number, (ns - until) / 1e9))
        first = number if first is None else first
        last = number
        present.add((number, sha))
    tally = db.execute('SELECT n FROM tally').fetchone()[0]
    if first is not None and tally != last - first + 1:
        complain('%s: %d rows, but the tally says %d' % (path, last - first + 1, tally))
    return present


def check(o):
    until = parse_time(o.until) if o.until else None
    restored = open_to_read(o.restored)
    check_integrity(restored, o.restored)
    if o.source != '-':
        check_integrity(open_to_read(o.source), o.source)
    if until is None and dump_hash(o.source) != dump_hash(o.restored):
        complain('%s and %s have different dumps' % (o.source, o.restored))
    count = 0
    if restored.execute("SELECT 1 FROM sqlite_master WHERE name = 'tally'").fetchone():
        present = check_rows(restored, o.restored, until)
        count = len(present)
    else:
        present = set()
    acks = acknowledged(o.log)
    limit = None if until is None else until - int(o.slack * 1e9)
    for (number, sha), ns in sorted(acks.items()):
        if (limit is None or ns <= limit) and (number, sha) not in present:
            complain('row %d, acknowledged at %d, is missing' % (number, ns))
    print(json.dumps({'rows': count, 'acknowledged': len(acks), 'problems': len(problems)}))
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest='mode_', required=True)
    p = modes.add_parser('write')
    p.add_argument('database')
    p.add_argument('--rate', type=float, default=0)
    p.add_argument('--seconds', type=float, default=1e9)
    p.add_argument('--log', required=True)
    p.add_argument('--size', type=int, default=200)
    p.add_argument('--big', action='store_true')
    p.add_argument('--autocheckpoint', type=int)
    p.add_argument('--synchronous', choices=['off', 'normal', 'full', 'extra'])
    p.set_defaults(run=write)
    p = modes.add_parser('checkpoint')
    p.add_argument('database')
    p.add_argument('--mode', default='all')
    p.add_argument('--every', type=float, default=1)
    p.add_argument('--seconds', type=float, default=1e9)
    p.set_defaults(run=checkpoint)
    p = modes.add_parser('check')
    p.add_argument('source')
    p.add_argument('restored')
    p.add_argument('--log', action='append', default=[])
    p.add_argument('--until')
    p.add_argument('--slack', type=float, default=0)
    p.set_defaults(run=check)
    o = parser.parse_args()
    return o.run(o)


if __name__ == '__main__':
    sys.exit(main())
