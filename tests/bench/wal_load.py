"""The application of wal_bench.py: writes to a SQLite database in WAL mode, in a process of its own."""
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import time

# File systems stamp files with this clock: with a finer one a file could be older than the commit inside it.
CLOCK_REALTIME_COARSE = 5
ROW = 'id INTEGER PRIMARY KEY, k INTEGER, text TEXT'


def connect(db):
    c = sqlite3.connect(db, isolation_level=None, timeout=10)
    c.execute('PRAGMA synchronous = NORMAL')  # the usual choice with WAL, and what litestream recommends
    return c


def create(db, mib):
    """Half of the bytes are random: it compresses about as hexadecimal text does."""
    c = sqlite3.connect(db, isolation_level=None)
    c.execute('PRAGMA page_size = 4096')
    c.execute('PRAGMA journal_mode = WAL')
    c.execute('PRAGMA synchronous = OFF')
    c.execute('CREATE TABLE t (%s)' % ROW)
    c.execute('CREATE TABLE log (marker TEXT, text TEXT)')
    while c.execute('PRAGMA page_count').fetchone()[0] < mib * 256:
        c.execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) '
                  'INSERT INTO t (k, text) SELECT i, hex(randomblob(200)) FROM n')
    c.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    c.close()


def in_a_process(function, *args):
    out = subprocess.check_output([sys.executable, os.path.abspath(__file__), function, json.dumps(args)])
    return json.loads(out)


def markers(text):
    return [m.decode() for m in re.findall(rb'<mark-\d+>', text)]


def paced(db, rate, seconds):
    """[(marker, time of the end of the commit, how long it took)], at random moments, so many a second."""
    return in_a_process('paced_here', db, rate, seconds)


def paced_here(db, rate, seconds):
    c, rng, done = connect(db), random.Random(1), []
    rows = c.execute('SELECT max(id) FROM t').fetchone()[0]
    count = max(1, rate * seconds)
    due = time.monotonic()
    for i in range(count):
        due += rng.expovariate(rate)
        time.sleep(max(0, due - time.monotonic()))
        marker = '<mark-%d>' % i
        text, row = '%0100x' % rng.getrandbits(400), rng.randrange(1, rows)
        t = time.perf_counter()
        c.execute('BEGIN IMMEDIATE')
        c.execute('INSERT INTO log VALUES (?, ?)', (marker, text))
        c.execute('UPDATE t SET text = ? || text WHERE id = ?', (text, row))
        c.execute('COMMIT')
        took = time.perf_counter() - t
        done.append((marker, time.clock_gettime(CLOCK_REALTIME_COARSE), took))
    return done


def bulk(db, megabytes):
    """One commit of so many MB of new pages."""
    return in_a_process('bulk_here', db, megabytes)


def bulk_here(db, megabytes):
    c = connect(db)
    c.execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) '
              'INSERT INTO t (k, text) SELECT i, hex(randomblob(200)) FROM n', (megabytes * 1000000 // 455,))


def updates(db, first, count, pause):
    """So many commits that change five rows somewhere, numbered from first."""
    return in_a_process('updates_here', db, first, count, pause)


def updates_here(db, first, count, pause):
    c = connect(db)
    rows = c.execute('SELECT max(id) FROM t').fetchone()[0]
    for i in range(first, first + count):
        rng = random.Random(i)
        c.execute('BEGIN IMMEDIATE')
        for _ in range(5):
            c.execute('UPDATE t SET k = ? WHERE id = ?', (i, rng.randrange(1, rows)))
        c.execute('COMMIT')
        time.sleep(pause)
    return count


def frames_of(db, load):
    """Pages that a load writes, counted by SQLite's own WAL with nobody else there."""
    keep = connect(db)
    keep.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    keep.execute('BEGIN')
    keep.execute('SELECT count(*) FROM log').fetchone()  # a reader: the WAL is not reset
    load(db)
    return (os.path.getsize(db + '-wal') - 32) // (4096 + 24)


def content(db):
    """What the tables hold, in a few numbers."""
    c = sqlite3.connect(db)
    return (c.execute('SELECT count(*), sum(id), sum(k * id % 1000003), sum(length(text)) FROM t').fetchone(),
            c.execute('SELECT count(*), sum(length(marker)) FROM log').fetchone())


if __name__ == '__main__':
    print(json.dumps(globals()[sys.argv[1]](*json.loads(sys.argv[2]))))
