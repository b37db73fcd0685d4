#!/usr/bin/env python3
"""wal_bench.py [--quick] [--bin DIR] [--litestream FILE] [--html FILE] [CASE...]: zl-walship and zl-restore beside litestream 0.3.

Both replicate to a directory on the same disk, in turn (A B A B ...) in one go on one machine; the tables hold
medians and, at their end, litestream's figure divided by ours: above 1 means that zl is better. Without a
litestream (--litestream, or in PATH) zl is measured alone. Machines are noisy: quote ratios, not single figures.

Cases:
  lag       from the end of a commit until the first object that holds it is in the store, at 1, 20 and 200
            commits a second; what shipping costs the application's commits; CPU of the shipper
  idle      CPU, wake-ups and changes of the store while nobody writes
  volume    objects and bytes in the store per MB of changed pages: small commits, and one of 100 MB
  memory    peak memory during the first snapshot of 1 GB and while one commit of 300 MB is shipped
  restore   a 1 GB database with 5,000 segments: time, bytes written

Needs zstd and lz4 in PATH, and --dir on a real disk (a tmpfs makes fsync free) with 10 GB to spare.
"""
import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import wal_load
from report import Report

PAGE = 4096


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))] if values else float('nan')


def cpu_seconds(pid):
    """CPU time of the process with all its threads, also those that ended, in nanosecond steps."""
    return time.clock_gettime((~pid << 3) | 2)


def files_below(root):
    """path -> (ctime, size) of all that is whole: names of unfinished files are left out."""
    found = {}
    for d, _, names in os.walk(root):
        for n in names:
            if re.search(r'\.(zst|lz4|json)$', n) and not n.startswith('.'):
                try:
                    s = os.stat(os.path.join(d, n))
                except FileNotFoundError:
                    continue
                found[os.path.join(d, n)] = (s.st_ctime, s.st_size)
    return found


class Shipper:
    """A running replicator of one database. kind: 'zl' or 'litestream'; interval: '0s', '1s', '10ms' ..."""

    def __init__(self, bench, kind, interval, db):
        self.kind, self.bench, self.db = kind, bench, db
        self.home = os.path.dirname(db)
        self.store = self.home + '/store'
        if kind == 'zl':
            cmd = [bench.bin + '/zl-walship', '-q', '--name', 'bench', '--sync-interval', interval] + self.zl_common()
            cmd.append(db)
        else:
            with open(self.home + '/litestream.yml', 'w') as f:
                f.write('dbs:\n  - path: %s\n    monitor-interval: %s\n    replicas:\n      - type: file\n'
                        '        path: %s\n        sync-interval: %s\n' % (db, interval, self.store, interval))
            cmd = [bench.litestream, 'replicate', '-config', self.home + '/litestream.yml']
        self.log = open(self.home + '/log', 'w')
        self.process = subprocess.Popen(cmd, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid

    def zl_common(self):
        with open(self.home + '/zl.conf', 'w'):
            pass  # an empty one, so that none of the machine's counts
        return ['--config', self.home + '/zl.conf', '--store', 'file://' + self.store, '--state-dir', self.home + '/state']

    def alive(self):
        if self.process.poll() is not None:
            sys.exit('wal_bench: %s ended: %s' % (self.kind, open(self.home + '/log').read()[-500:]))

    def wait_snapshot(self):
        while not any('/snapshots/' in p for p in files_below(self.store)):
            self.alive()
            time.sleep(0.02)

    def wait_quiet(self, seconds=2.0):
        """Until neither the store changes nor CPU is used, for so long."""
        since, was = time.monotonic(), (files_below(self.store), cpu_seconds(self.pid))
        while time.monotonic() - since < seconds:
            time.sleep(0.25)
            self.alive()
            now = (files_below(self.store), cpu_seconds(self.pid))
            if now[0] != was[0] or now[1] - was[1] > 0.025:
                since = time.monotonic()
            was = now

    def peak_kib(self):
        return int(re.search(r'VmHWM:\s+(\d+)', open('/proc/%d/status' % self.pid).read()).group(1))

    def reset_peak(self):
        with open('/proc/%d/clear_refs' % self.pid, 'w') as f:
            f.write('5')

    def wakeups(self):
        total = 0
        for t in os.listdir('/proc/%d/task' % self.pid):
            with open('/proc/%d/task/%s/status' % (self.pid, t)) as f:
                total += int(re.search(r'^voluntary_ctxt_switches:\s+(\d+)', f.read(), re.M).group(1))
        return total

    def stop(self):
        self.alive()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()

    def unpacked(self):
        """[(ctime, text)] of every object, oldest first."""
        files = {p: t for p, (t, _) in files_below(self.store).items() if not p.endswith('.json')}
        copy = tempfile.mkdtemp(dir=self.home)
        shutil.copytree(self.store, copy + '/s')
        tool = ['zstd', '-dqf', '--rm'] if self.kind == 'zl' else ['lz4', '-dqfm', '--rm']
        names = [copy + '/s' + p[len(self.store):] for p in files]
        for i in range(0, len(names), 1000):
            subprocess.check_call(tool + names[i:i + 1000])
        for (p, t), n in sorted(zip(files.items(), names), key=lambda x: x[0][1]):
            with open(os.path.splitext(n)[0], 'rb') as f:
                yield t, f.read()
        shutil.rmtree(copy)


class Bench:
    def __init__(self, a):
        self.a, self.bin = a, os.path.abspath(a.bin)
        self.report = Report('zl-walship and zl-restore beside litestream', a.html)
        self.litestream = a.litestream and os.path.abspath(a.litestream)
        self.tmp = tempfile.mkdtemp(prefix='zl-wal-bench-', dir=a.dir)
        self.kept = {}
        for k in [k for k in os.environ if k.startswith('ZL_')]:
            del os.environ[k]

    def home(self):
        return tempfile.mkdtemp(dir=self.tmp)

    def database(self, mib):
        """A copy of its own, in a new directory, of a database of so many MiB."""
        if mib not in self.kept:
            self.kept[mib] = '%s/base-%d.db' % (self.tmp, mib)
            wal_load.create(self.kept[mib], mib)
        db = self.home() + '/app.db'
        shutil.copyfile(self.kept[mib], db)
        os.sync()
        return db

    def shippers(self, *intervals):
        """(kind, interval), ours first; litestream's least interval that makes sense is 10ms."""
        return [(k, i) for i in intervals for k in ('zl', 'litestream') if k == 'zl' or self.litestream]

    @staticmethod
    def label(kind, interval):
        return 'no shipper' if kind == 'none' else '%s %s' % (kind, '10ms' if (kind, interval) == ('litestream', '0s') else interval)

    def ship(self, kind, interval, db):
        s = Shipper(self, kind, '10ms' if (kind, interval) == ('litestream', '0s') else interval, db)
        s.wait_snapshot()
        return s

    # ---------------------------------------------------------------------------------- cases
    def lag_turn(self, kind, interval, rate):
        """lags in ms, writer's commit times in ms, CPU seconds, commits that never arrived."""
        db = self.database(20)
        s = None if kind == 'none' else self.ship(kind, interval, db)
        time.sleep(1)
        before = cpu_seconds(s.pid) if s else 0
        commits = wal_load.paced(db, rate, self.a.seconds or (6 if self.a.quick else 12))
        time.sleep(2.5)
        cpu, seen = 0, {}
        if s:
            cpu = cpu_seconds(s.pid) - before
            s.stop()
            for t, text in s.unpacked():
                for m in wal_load.markers(text):
                    seen.setdefault(m, t)
        shutil.rmtree(os.path.dirname(db))
        lags = [(seen[m] - end) * 1e3 for m, end, _ in commits if m in seen]
        return lags, [c * 1e3 for _, _, c in commits], cpu, len(commits) - len(lags) if s else 0

    def lag(self):
        for rate in self.a.rates:
            order = [('none', '')] + self.shippers('0s', '1s')
            sums = {o: ([], [], [], []) for o in order}
            for _ in range(1 if self.a.quick else 2):
                for o in order:
                    for total, part in zip(sums[o], self.lag_turn(*o, rate)):
                        total.extend(part if isinstance(part, list) else [part])
            rows = []
            for o, (lags, own, cpu, lost) in sums.items():
                p50 = percentile(lags, 50)
                theirs = percentile(sums[('litestream', o[1])][0], 50) if o[0] == 'zl' and self.litestream else None
                rows.append([self.label(*o), str(len(own))] +
                            (['-', '-'] if o[0] == 'none' else ['%.1f' % p50, '%.1f' % percentile(lags, 99)]) +
                            ['%.2f' % percentile(own, 50), '%.2f' % percentile(own, 99),
                             '-' if o[0] == 'none' else '%.2f' % (sum(cpu) * 1000 / len(own)), str(sum(lost)),
                             '%.2f' % (theirs / p50) if theirs else ''])
            self.report.table('lag at %d commits/s' % rate, ['', 'commits', 'lag p50 ms', 'p99', 'commit p50 ms', 'p99',
                                                 'CPU s/1000', 'not seen', 'ratio of p50'], rows,
                              series=('share of the commits that are in the store after', 'ms', {self.label(*o): s[0] for o, s in sums.items()}))

    def idle(self):
        seconds = self.a.seconds or (20 if self.a.quick else 60)
        running, rows = [], []
        for o in self.shippers('1s', '0s'):
            db = self.database(20)
            s = self.ship(*o, db)
            wal_load.paced(db, 20, 1)
            running.append((o, s))
        time.sleep(5)
        before = [(cpu_seconds(s.pid), s.wakeups(), files_below(s.store)) for _, s in running]
        t = time.monotonic()
        time.sleep(seconds)
        wall = time.monotonic() - t
        cpu = {}
        for (o, s), (c, w, f) in zip(running, before):
            cpu[o] = (cpu_seconds(s.pid) - c) / wall * 100
            now = files_below(s.store)
            changed = sum(1 for p in set(f) | set(now) if f.get(p) != now.get(p))
            rows.append([self.label(*o), '%.4f' % cpu[o], '%.1f' % ((s.wakeups() - w) / wall), str(changed)])
        for (o, s), row in zip(running, rows):
            s.stop()
            row.append('%.1f' % (cpu[('litestream', o[1])] / cpu[o]) if o[0] == 'zl' and self.litestream else '')
        self.report.table('idle for %.0f s, all at once' % wall, ['', 'CPU %', 'wake-ups/s', 'objects changed', 'ratio of CPU'], rows, bar=1)

    def volume(self):
        seconds = self.a.seconds or (15 if self.a.quick else 60)
        bulk = 20 if self.a.quick else 100
        loads = [('20 commits/s for %d s' % seconds, lambda db: wal_load.paced(db, 20, seconds)),
                 ('one commit of %d MB' % bulk, lambda db: wal_load.bulk(db, bulk))]
        for title, load in loads:
            db = self.database(20)
            changed = wal_load.frames_of(db, load) * PAGE / 1e6
            rows = []
            result = {}
            for o in self.shippers('1s'):
                db = self.database(20)
                s = self.ship(*o, db)
                s.wait_quiet()
                before = files_below(s.store)
                load(db)
                s.wait_quiet(3)
                new = {p: v for p, v in files_below(s.store).items() if before.get(p) != v}
                s.stop()
                shutil.rmtree(os.path.dirname(db))
                result[o] = sum(size for _, size in new.values()) / 1e6
                rows.append([self.label(*o), '%.1f' % changed, str(len(new)), '%.3f' % result[o],
                             '%.2f' % (len(new) / changed), '%.3f' % (result[o] / changed), ''])
            if self.litestream:
                rows[0][-1] = '%.2f' % (result[('litestream', '1s')] / result[('zl', '1s')])
            self.report.table('volume, ' + title, ['', 'MB changed', 'objects', 'MB stored', 'objects/MB', 'stored/changed',
                                                   'ratio of bytes'], rows, bar=3)

    def memory(self):
        base, bulk = (200, 60) if self.a.quick else (1024, 300)
        rows, peaks = [], {}
        for o in self.shippers('1s'):
            db = self.database(base)
            s = self.ship(*o, db)
            s.wait_quiet()
            first = s.peak_kib()
            s.reset_peak()
            wal_load.bulk(db, bulk)
            s.wait_quiet(3)
            peaks[o] = (first / 1024, s.peak_kib() / 1024)
            s.stop()
            shutil.rmtree(os.path.dirname(db))
            rows.append([self.label(*o)] + ['%.1f' % p for p in peaks[o]] + ['', ''])
        if self.litestream:
            rows[0][-2:] = ['%.2f' % (a / b) for a, b in zip(peaks[('litestream', '1s')], peaks[('zl', '1s')])]
        self.report.table('memory', ['', 'snapshot of %d MiB: peak MiB' % base, 'commit of %d MB: peak MiB' % bulk, 'ratios', ''], rows, bar=1)

    def replica(self, kind, mib, segments):
        """A replica with so many segments, made as fast as the shipper cuts them, at most for five minutes."""
        db = self.database(mib)
        s = self.ship(kind, '0s', db)
        s.wait_quiet()
        end = time.monotonic() + 300
        commits = made = 0
        while made < segments and time.monotonic() < end:
            # litestream looks once in 10 ms, so commits that come faster share a segment
            commits += wal_load.updates(db, commits, max(20, (segments - made) // 2), 0.004 if kind == 'zl' else 0.02)
            s.alive()
            made = sum(1 for p in files_below(s.store) if '/wal/' in p)
        s.wait_quiet(3)
        made = sum(1 for p in files_below(s.store) if '/wal/' in p)
        s.stop()
        self.report.line('  %s: %d commits, %d segments' % (kind, commits, made))
        return s

    def restore(self):
        mib, segments = (100, 500) if self.a.quick else (1024, 5000)
        self.report.line('== restore: making the replicas')
        runs, replicas = [], {}
        for k, _ in self.shippers('0s'):
            replicas[k] = r = self.replica(k, mib, segments)
            if k == 'zl':
                base = [self.bin + '/zl-restore', '-q'] + r.zl_common()
                runs += [('zl, ' + c, r, base + ['--check', c, '-o', '%s', 'bench']) for c in ('none', 'quick')]
            else:
                runs.append(('litestream', r, [self.litestream, 'restore', '-o', '%s', 'file://' + r.store]))
        runs.append(('copy of the result', replicas['zl'], ['dd', 'if=' + replicas['zl'].db, 'of=%s', 'bs=1M', 'conv=fsync']))
        results = {name: [] for name, _, _ in runs}
        for turn in range(self.a.runs):
            for name, r, cmd in runs:
                results[name].append(self.restore_once(r, cmd, check=turn == 0 and cmd[0] != 'dd'))
        medians = {n: [statistics.median(x) for x in zip(*v)] for n, v in results.items()}
        rows = [[n, '%.2f' % wall, '%.2f' % cpu, '%.0f' % written, '%.0f' % size, '%.0f' % peak,
                 '%.2f' % (medians['litestream'][0] / wall) if n.startswith('zl') and self.litestream else '']
                for n, (wall, cpu, written, size, peak) in medians.items()]
        self.report.table('restore of %d MiB and %d segments, medians of %d, page cache warm' % (mib, segments, self.a.runs),
              ['', 'wall s', 'CPU s', 'MB written', 'MB result', 'peak MiB', 'ratio'], rows, bar=1)

    def restore_once(self, r, cmd, check):
        out = self.home() + '/restored.db'
        subprocess.check_call('cat %s $(find %s -type f | head -1) > /dev/null; find %s -type f -exec cat {} + > /dev/null; sync'
                              % (r.db, r.store, r.store), shell=True)
        t = time.monotonic()
        p = subprocess.Popen([out if c == '%s' else c.replace('%s', out) if c.startswith('of=') else c for c in cmd],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        message = p.stderr.read()
        os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)  # its /proc entry is still there then
        wall = time.monotonic() - t
        written = int(re.search(r'wchar: (\d+)', open('/proc/%d/io' % p.pid).read()).group(1))
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        if p.returncode:
            sys.exit('wal_bench: %s: exit %d: %s' % (cmd[0], p.returncode, message.decode()[-500:]))
        if check and wal_load.content(out) != wal_load.content(r.db):
            sys.exit('wal_bench: %s restored something else' % cmd[0])
        size = os.path.getsize(out)
        shutil.rmtree(os.path.dirname(out))
        return wall, usage.ru_utime + usage.ru_stime, written / 1e6, size / 1e6, usage.ru_maxrss / 1024


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true', help='less of everything, a few minutes in all')
    p.add_argument('--bin', default='build/tools', help='where zl-walship and zl-restore are')
    p.add_argument('--litestream', default=shutil.which('litestream'), metavar='FILE')
    p.add_argument('--dir', default='/var/tmp', help='where databases and stores are put')
    p.add_argument('--html', metavar='FILE', help='the same as a page to look at, lags as curves')
    p.add_argument('--keep', action='store_true', help='leave the databases and stores there, to look into them')
    p.add_argument('--runs', type=int, default=3, help='restores of each kind')
    p.add_argument('--seconds', type=int, default=0, help='length of a turn of lag, idle, volume')
    p.add_argument('--rates', type=lambda s: [int(x) for x in s.split(',')], default=[1, 20, 200])
    p.add_argument('cases', nargs='*', default=['lag', 'idle', 'volume', 'memory', 'restore'])
    a = p.parse_args()
    for c in a.cases:
        if c not in ('lag', 'idle', 'volume', 'memory', 'restore'):
            p.error('no case %s' % c)
    b = Bench(a)
    if a.litestream:
        b.report.line('litestream ' + subprocess.check_output([a.litestream, 'version'], text=True).strip())
    else:
        b.report.line('no litestream in PATH and no --litestream: zl alone')
    try:
        for c in a.cases:
            getattr(b, c)()
    finally:
        if a.keep:
            print('kept: ' + b.tmp)
        else:
            shutil.rmtree(b.tmp, ignore_errors=True)


if __name__ == '__main__':
    main()
