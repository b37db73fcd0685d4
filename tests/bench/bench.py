#!/usr/bin/env python3
"""bench.py [--runs N] [--size MIB] [--bin DIR] [--html FILE] [CASE...]: zl beside what a user would pick instead.

Every case runs its commands in turn (A B A B ...), after one warm-up of each, in one go on one machine, and
prints the median of the wall times, of user+sys seconds and of peak memory, and the ratio of the medians:
above 1 means that zl is faster. Machines are noisy; quote these ratios, not single figures.

Cases (root is needed for cold caches and fresh file systems):
  pack         zl-pack DIR            | tar --sort=name -c DIR | zstd -3 -T0       mixed tree, warm
  pack-cold    the same on 200,000 small files with cold caches
  unpack       zl-unpack              | zstd -dc | tar -x                          on a fresh ext4 each
  push-sink    zl-push --raw          | aws s3 cp -, rclone rcat                   to a discarding fake server
  pull-sink    zl-pull                | aws s3 cp, rclone cat                      from a serving fake server
  push-rgw, pull-rgw                  the same with Ceph RGW (BENCH_S3_ENDPOINT, AWS_* set)
"""
import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from report import Report

HERE = os.path.dirname(os.path.abspath(__file__))


def run(cmd, env=None, stdin=None):
    """wall, cpu, peak KiB of a shell command and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    t = time.monotonic()
    p = subprocess.Popen(['bash', '-o', 'pipefail', '-c', cmd], env=env, stdin=stdin or subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - t
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if p.returncode:
        sys.exit('bench: exit %d from: %s' % (p.returncode, cmd))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, usage.ru_maxrss


def compare(report, title, commands, runs, before=lambda name: None, env=None):
    """commands: [(name, shell command)], ours first."""
    results = {name: [] for name, _ in commands}
    for i in range(runs + 1):
        for name, cmd in commands:
            before(name)
            r = run(cmd, env)
            if i:
                results[name].append(r)
    rows = []
    for name, _ in commands:
        wall, cpu, rss = (statistics.median(x) for x in zip(*results[name]))
        ratio = '%.2f' % (wall / float(rows[0][1])) if rows else ''
        rows.append([name, '%.3f' % wall, '%.2f' % cpu, '%.0f' % (rss / 1024), ratio])
    report.table(title, ['', 'wall s', 'CPU s', 'peak MiB', 'ratio'], rows, bar=1)


def drop_caches(_=None):
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('3')


class Bench:
    def __init__(self, a):
        self.runs, self.mib = a.runs, a.size
        self.report = Report('zl beside the usual tools', a.html)
        self.bin = os.path.abspath(a.bin)
        self.tmp = tempfile.mkdtemp(prefix='zl-bench-')
        os.environ['PATH'] = self.bin + ':' + os.environ['PATH']
        os.environ['ZL_STATE_DIR'] = self.tmp + '/state'

    def close(self):
        shutil.rmtree(self.tmp, ignore_errors=True)

    def mixed_tree(self):
        d = self.tmp + '/mixed'
        if not os.path.exists(d):
            os.mkdir(d)
            subprocess.check_call('cp -a /usr/lib/x86_64-linux-gnu /usr/share/perl /usr/include %s/ 2>/dev/null; '
                                  'while [ $(du -sm %s | cut -f1) -gt %d ]; do rm -rf "$(ls -d %s/*/* | tail -1)"; done'
                                  % (d, d, self.mib, d), shell=True)
        return d

    def small_tree(self, n=200000):
        d = self.tmp + '/small'
        if not os.path.exists(d):
            rng = random.Random(1)
            base = open(sys.executable, 'rb').read()
            for i in range(n // 100):
                p = '%s/%03d/%04d' % (d, i % 40, i)
                os.makedirs(p)
                for f in range(100):
                    o = rng.randrange(len(base) - 4096)
                    with open('%s/f%03d' % (p, f), 'wb') as h:
                        h.write(base[o:o + rng.randrange(1, 4096)])
        return d

    def blob(self):
        p = self.tmp + '/blob.bin'
        if not os.path.exists(p):
            subprocess.check_call('head -c %dM /dev/urandom > %s' % (self.mib, p), shell=True)
        return p

    def layer(self):
        p = self.tmp + '/layer.tar.zst'
        if not os.path.exists(p):
            d = self.tmp + '/layerdir'
            os.makedirs(d, exist_ok=True)
            os.rename(self.blob(), d + '/blob')
            subprocess.check_call(['zl-pack', '-o', p, d])
            os.rename(d + '/blob', self.tmp + '/blob.bin')
        return p

    def digest(self):
        """Of the layer, as its trailer says."""
        return subprocess.check_output("tail -c 3000 %s | grep -ao '\"digest\":\"[0-9a-f]*' | cut -d'\"' -f4" % self.layer(),
                                       shell=True, text=True).strip()

    # ---------------------------------------------------------------------------------- cases
    def pack(self):
        d = self.mixed_tree()
        compare(self.report, 'pack %s MiB, warm' % self.mib,
                [('zl-pack', 'zl-pack %s > /dev/null' % d),
                 ('tar|zstd -T0', 'tar --sort=name -C %s -c . | zstd -q -3 -T0 > /dev/null' % d)], self.runs)

    def pack_cold(self):
        d = self.small_tree()
        compare(self.report, 'pack 200,000 small files, cold',
                [('zl-pack', 'zl-pack %s > /dev/null' % d),
                 ('tar|zstd -T0', 'tar --sort=name -C %s -c . | zstd -q -3 -T0 > /dev/null' % d)],
                self.runs, before=drop_caches)

    def unpack(self):
        d = self.mixed_tree()
        p = self.tmp + '/mixed.tar.zst'
        subprocess.check_call(['zl-pack', '-o', p, d])
        image, mount = self.tmp + '/ext4.img', self.tmp + '/mnt'
        os.makedirs(mount, exist_ok=True)

        def fresh(_):
            subprocess.call(['umount', mount], stderr=subprocess.DEVNULL)
            subprocess.check_call('rm -f %s; truncate -s %dM %s; mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 %s; '
                                  'mount -o loop %s %s; mkdir %s/out; cat %s > /dev/null; sync'
                                  % (image, self.mib * 3 + 500, image, image, image, mount, mount, p), shell=True)
        compare(self.report, 'unpack %s MiB to a fresh ext4' % self.mib,
                [('zl-unpack', 'zl-unpack -C %s/out < %s' % (mount, p)),
                 ('zstd|tar', 'zstd -dqc %s | tar -x -C %s/out; sync -f %s' % (p, mount, mount))], self.runs, before=fresh)
        subprocess.call(['umount', mount])

    def clients(self, endpoint, put):
        """Same part size and number of parts in flight for all."""
        env = dict(os.environ, AWS_ACCESS_KEY_ID=os.environ.get('AWS_ACCESS_KEY_ID', 'x'),
                   AWS_SECRET_ACCESS_KEY=os.environ.get('AWS_SECRET_ACCESS_KEY', 'y'), AWS_REGION='us-east-1',
                   AWS_REQUEST_CHECKSUM_CALCULATION='when_required', AWS_CONFIG_FILE=self.tmp + '/aws',
                   ZL_STORE='s3://bench-bucket/?endpoint=' + endpoint, RCLONE_CONFIG='/dev/null')
        env.pop('AWS_CA_BUNDLE', None)  # Debian's rclone cannot load one
        with open(self.tmp + '/aws', 'w') as f:
            f.write('[default]\ns3 =\n  multipart_chunksize = 16MB\n  max_concurrent_requests = 4\n'
                    '  addressing_style = path\n')
        rclone = ('rclone --s3-provider Ceph --s3-endpoint %s --s3-env-auth --s3-region us-east-1 --s3-chunk-size 16M '
                  '--s3-upload-concurrency 4 --s3-no-check-bucket --s3-use-multipart-etag=false --s3-disable-checksum --ignore-checksum -q' % endpoint)
        b = self.blob()
        if put:
            return env, [('zl-push', 'zl-push --raw --accept-eof --force --part-size 16MiB < %s' % b),
                         ('aws s3 cp', '/usr/bin/aws --endpoint-url %s s3 cp --only-show-errors - s3://bench-bucket/a.bin < %s' % (endpoint, b)),
                         ('rclone rcat', '%s rcat :s3:bench-bucket/r.bin < %s' % (rclone, b))]
        digest = self.digest()
        key = 'layers/%s.tar.zst' % digest
        return env, [('zl-pull', 'zl-pull sha256:%s > /dev/null' % digest),
                     ('aws s3 cp', '/usr/bin/aws --endpoint-url %s s3 cp --only-show-errors s3://bench-bucket/%s - > /dev/null' % (endpoint, key)),
                     ('rclone cat', '%s cat :s3:bench-bucket/%s > /dev/null' % (rclone, key))]

    def with_sink(self, put):
        sink = self.tmp + '/s3sink'
        if not os.path.exists(sink):
            subprocess.check_call(['g++', '-O2', '-std=c++20', '-pthread', '-o', sink, HERE + '/s3sink.cpp'])
        port = random.randrange(20000, 30000)
        args = [sink, str(port)] if put else [sink, str(port), self.layer(), 'layers/%s.tar.zst' % self.digest()]
        server = subprocess.Popen(args, stdout=subprocess.PIPE)
        server.stdout.readline()
        try:
            env, commands = self.clients('http://127.0.0.1:%d' % port, put)
            compare(self.report, ('push %d MiB to a discarding' if put else 'pull %d MiB from a serving') % self.mib + ' fake server',
                    commands, self.runs, env=env)
        finally:
            server.kill()

    def push_sink(self):
        self.with_sink(True)

    def pull_sink(self):
        self.with_sink(False)

    def rgw(self, put):
        endpoint = os.environ['BENCH_S3_ENDPOINT']
        env, commands = self.clients(endpoint, put)
        run('/usr/bin/aws --endpoint-url %s s3 mb s3://bench-bucket >/dev/null 2>&1 || true' % endpoint, env)
        if not put:
            run('zl-push --force < %s' % self.layer(), env)
        compare(self.report, ('push %d MiB to' if put else 'pull %d MiB from') % self.mib + ' ' + endpoint, commands, self.runs, env=env)

    def push_rgw(self):
        self.rgw(True)

    def pull_rgw(self):
        self.rgw(False)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--runs', type=int, default=5)
    p.add_argument('--size', type=int, default=512, help='MiB')
    p.add_argument('--bin', default='build/tools')
    p.add_argument('--html', metavar='FILE', help='the same as a page to look at')
    p.add_argument('cases', nargs='*', default=['pack', 'pack-cold', 'unpack', 'push-sink', 'pull-sink'])
    a = p.parse_args()
    b = Bench(a)
    try:
        for c in a.cases:
            getattr(b, c.replace('-', '_'))()
    finally:
        b.close()


if __name__ == '__main__':
    main()
