#!/usr/bin/env python3
"""mkhostile.py OUT CANARY   -- writes hostile layer streams to OUT, and OUT/cases.tsv

Each line of cases.tsv: NAME, CLASS, OPTIONS of zl-unpack. CANARY is the directory outside of the
target that the archives try to reach. Classes
  refuse   exit 65, the target stays absent
  accept   looks odd but is harmless: exit 0
  safe     either of the two (also 3, attributes that cannot be restored), never anything else
  lenient  as safe, or 74: what the reader of foreign archives takes as other tar programs do, for
           instance a later entry of the same name, or no data behind a link whatever its size says
In every case: nothing outside of the target changes, no crash, bounded memory, no overlay redirect
or metacopy that points out of the target; except for lenient cases no entry named `smuggled`.

Tar cases are written twice: in a stream with a true trailer (the attacker can make one), and as
NAME.foreign, a plain .tar.zst for --foreign."""
import hashlib
import json
import os
import struct
import sys

import layerfmt

# Cases in which libarchive, which reads foreign archives, is not as strict as our own reader.
LENIENT = set("""symlink-final symlink-then-mode symlink-empty-target hardlink-to-symlink-then-write
    hardlink-with-data nul-in-path nul-in-linkpath duplicate-file duplicate-dotted pax-size-text
    pax-global-size pax-mtime-text size-octal-garbage type-5a type-38 type-ff directory-with-data
    symlink-with-data fifo-with-data device-with-data sparse-overlap sparse-backwards
    sparse-beyond-end sparse-short-data sparse-more-data sparse-realsize-negative
    sparse-realsize-huge whiteout-as-parent""".split())
END = b'\0' * 1024
START = b'\x28\xb5\x2f\xfd\x00\x58'  # of a zstd frame: no content size, 2 MiB window
CANARY = b'/canary'  # set by main
CASES = []


def octal(value, width):
    if isinstance(value, bytes):
        return value.ljust(width, b'\0')[:width]
    if value < 0 or value >= 8 ** (width - 1):  # base-256
        return (value & (1 << (8 * width)) - 1 | 1 << (8 * width - 1)).to_bytes(width, 'big') \
            if value >= 0 else value.to_bytes(width, 'big', signed=True)
    return b'%0*o\0' % (width - 1, value)


def header(name, kind=b'0', size=0, mode=0o644, uid=0, gid=0, mtime=0, link=b'', major=0, minor=0,
           magic=b'ustar\00000', checksum=None, prefix=b''):
    block = bytearray(512)
    for at, width, value in ((0, 100, name), (100, 8, octal(mode, 8)), (108, 8, octal(uid, 8)),
                             (116, 8, octal(gid, 8)), (124, 12, octal(size, 12)),
                             (136, 12, octal(mtime, 12)), (148, 8, b' ' * 8), (156, 1, kind),
                             (157, 100, link), (257, 8, magic), (329, 8, octal(major, 8)),
                             (337, 8, octal(minor, 8)), (345, 155, prefix)):
        block[at:at + width] = value[:width].ljust(width, b'\0')
    block[148:156] = checksum or b'%06o\0 ' % sum(block)
    return bytes(block)


def padded(data):
    return data + b'\0' * (-len(data) % 512)


def entry(name, data=b'', kind=b'0', **fields):
    fields.setdefault('size', len(data))
    return header(name, kind, **fields) + padded(data)


def record(key, value):
    body = b' %s=%s\n' % (key, value)
    size = len(body) + 1
    while size != len(body) + len(b'%d' % size):
        size = len(body) + len(b'%d' % size)
    return b'%d%s' % (size, body)


def pax_raw(payload, kind=b'x'):
    return entry(b'PaxHeaders/x', payload, kind)


def pax(kind=b'x', **records):
    return pax_raw(b''.join(record(k.encode(), v) for k, v in records.items()), kind)


def paxd(records, kind=b'x'):
    return pax_raw(b''.join(record(k, v) for k, v in records.items()), kind)


def root():
    return entry(b'./', kind=b'5', mode=0o755)


def directory(name):
    return entry(name, kind=b'5', mode=0o755)


def symlink(name, target):
    return entry(name, kind=b'2', link=target, mode=0o777)


def hardlink(name, target):
    return entry(name, kind=b'1', link=target)


SMUGGLED = entry(b'smuggled', b'bad')


def tar(name, expected, *members, end=END, options=''):
    CASES.append((name, expected, b''.join((root(),) + members) + end, options))


def stream(name, expected, blob, options=''):
    CASES.append((name, expected, None, options, blob))


def escapes():
    up = b'../' + os.path.basename(CANARY) + b'/'
    tar('dotdot', 'refuse', entry(up + b'new', b'x'))
    tar('dotdot-middle', 'refuse', directory(b'a'), entry(b'a/../' + up + b'new', b'x'))
    tar('dotdot-inside', 'refuse', directory(b'a'), entry(b'a/../b', b'x'))
    tar('dotdot-alone', 'refuse', directory(b'..'))
    tar('dotdot-trailing', 'refuse', directory(b'a'), directory(b'a/..'))
    tar('dotdot-in-pax', 'refuse', pax(path=up + b'new'), entry(b'ok', b'x'))
    tar('dotdot-in-prefix', 'refuse', entry(b'new', b'x', prefix=up.rstrip(b'/')))
    tar('absolute', 'refuse', entry(CANARY + b'/new', b'x'))
    tar('absolute-double', 'refuse', entry(b'/' + CANARY + b'/new', b'x'))
    tar('absolute-in-pax', 'refuse', pax(path=CANARY + b'/new'), entry(b'ok', b'x'))
    tar('empty-name', 'refuse', entry(b'', b'x'))
    tar('slash-name', 'refuse', directory(b'/'))
    tar('root-is-symlink', 'refuse', symlink(b'.', CANARY), entry(b'new', b'x'))
    tar('root-is-file', 'refuse', entry(b'./', b'x'))
    tar('root-is-dot-slash-dot', 'safe', directory(b'./.'), entry(b'ok', b'x'))


def links():
    base = b'../' + os.path.basename(CANARY)
    tar('symlink-dir', 'refuse', symlink(b'l', CANARY), entry(b'l/new', b'x'))
    tar('symlink-dir-relative', 'refuse', symlink(b'l', base), entry(b'l/new', b'x'))
    tar('symlink-chain', 'refuse', symlink(b'b', b'..'), symlink(b'a', b'b'),
        entry(b'a/' + os.path.basename(CANARY) + b'/new', b'x'))
    tar('symlink-final', 'refuse', symlink(b'l', CANARY + b'/file'), entry(b'l', b'x'))
    tar('symlink-then-mode', 'refuse', symlink(b'l', CANARY + b'/file'),
        entry(b'l', kind=b'2', link=CANARY + b'/file', mode=0o4777))
    tar('symlink-then-dir', 'refuse', symlink(b'l', CANARY), directory(b'l'), entry(b'l/new', b'x'))
    tar('dir-then-symlink', 'refuse', directory(b'd'), symlink(b'd', CANARY), entry(b'd/new', b'x'))
    tar('dir-then-device', 'refuse', directory(b'd'), entry(b'd', kind=b'3', major=1, minor=3),
        entry(b'd/new', b'x'))
    tar('file-then-below-it', 'refuse', entry(b'f', b'x'), entry(b'f/new', b'x'))
    tar('device-then-below-it', 'refuse', entry(b'f', kind=b'3', major=1, minor=3),
        entry(b'f/new', b'x'))
    tar('symlink-makes-dir', 'refuse', symlink(b'l', CANARY), directory(b'l/newdir'))
    tar('symlink-makes-fifo', 'refuse', symlink(b'l', CANARY), entry(b'l/new', kind=b'6'))
    tar('symlink-makes-symlink', 'refuse', symlink(b'l', CANARY), symlink(b'l/new', b'x'))
    tar('symlink-empty-target', 'refuse', symlink(b'l', b''))
    tar('symlink-target-too-long', 'refuse', pax(linkpath=b'x' * 5000), symlink(b'l', b'x'))
    tar('symlink-to-itself', 'accept', symlink(b'l', b'l'))
    tar('symlink-to-canary-only', 'accept', symlink(b'l', CANARY))
    tar('hardlink-absolute', 'refuse', hardlink(b'h', CANARY + b'/file'))
    tar('hardlink-dotdot', 'refuse', hardlink(b'h', base + b'/file'))
    tar('hardlink-in-pax', 'refuse', pax(linkpath=CANARY + b'/file'), hardlink(b'h', b'ok'))
    tar('hardlink-through-symlink', 'refuse', symlink(b'l', CANARY), hardlink(b'h', b'l/file'))
    tar('hardlink-name-through-symlink', 'refuse', entry(b'f', b'x'), symlink(b'l', CANARY),
        hardlink(b'l/new', b'f'))
    tar('hardlink-to-symlink-then-write', 'refuse', symlink(b'l', CANARY + b'/file'),
        hardlink(b'h', b'l'), entry(b'h', b'x'))
    tar('hardlink-missing', 'refuse', hardlink(b'h', b'nothing'))
    tar('hardlink-later', 'refuse', hardlink(b'h', b'z'), entry(b'z', b'x'))
    tar('hardlink-directory', 'refuse', directory(b'd'), hardlink(b'h', b'd'))
    tar('hardlink-itself', 'refuse', hardlink(b'h', b'h'))
    tar('hardlink-with-data', 'safe', entry(b'f', b'x'),
        entry(b'h', SMUGGLED, kind=b'1', link=b'f'))
    tar('hardlink-to-symlink', 'accept', symlink(b'l', CANARY + b'/file'), hardlink(b'h', b'l'))


def names():
    tar('nul-in-path', 'refuse', pax(path=b'a\0b'), entry(b'ok', b'x'))
    tar('nul-in-linkpath', 'refuse', pax(linkpath=b'a\0b'), symlink(b'l', b'x'))
    tar('component-256', 'refuse', pax(path=b'n' * 256), entry(b'ok', b'x'))
    tar('component-64k', 'refuse', pax(path=b'n' * 65536), entry(b'ok', b'x'))
    tar('path-80k', 'safe', *[pax(path=b'/'.join([b'c' * 200] * n)) + directory(b'x')
                              for n in range(1, 400)])
    tar('nested-3000', 'safe', *[pax(path=b'/'.join([b'd'] * n)) + directory(b'x')
                                 for n in range(1, 3000)])
    tar('nested-no-parents', 'safe', pax(path=b'd/' * 8000 + b'f'), entry(b'x', b'x'))
    tar('duplicate-file', 'refuse', entry(b'f', b'one'), entry(b'f', b'two'))
    tar('duplicate-dotted', 'refuse', entry(b'f', b'one'), entry(b'./f', b'two'))
    tar('duplicate-directory', 'safe', directory(b'd'), directory(b'd'))
    tar('file-with-slash', 'safe', entry(b'f/', b'x'))
    tar('double-slash', 'safe', directory(b'd'), entry(b'd//f', b'x'))
    tar('own-stage-names', 'safe', directory(b'.zl-unpack'), entry(b'.zl-unpack/x', b'x'),
        entry(b'.zl-incomplete', b'{}'))


def pax_lies():
    ok = entry(b'ok', b'x')
    for name, payload in (
            ('length-too-long', b'99 path=evil\n'), ('length-too-short', b'5 path=evil\n'),
            ('no-newline', b'12 path=evil'), ('no-equals', b'8 path\n\n'),
            ('no-digits', b'path=evil\n'),
            ('length-zero', b'0 path=evil\n'), ('length-negative', b'-13 path=evil\n'),
            ('length-huge', b'99999999999999999999999 path=evil\n'), ('empty-key', b'7 =ab\n\n'),
            ('length-no-space', b'13path=evil12\n')):
        tar('pax-' + name, 'refuse', pax_raw(payload), ok)
    tar('pax-size-larger', 'safe', pax(size=b'1024'),
        header(b'f') + SMUGGLED, entry(b'after', b'x'))
    # pax wins: what looks like content is the next header
    tar('pax-size-smaller', 'safe', pax(size=b'0'), entry(b'f', entry(b'seen')), entry(b'z', b'x'))
    tar('pax-size-negative', 'refuse', pax(size=b'-1'), ok)
    tar('pax-size-text', 'refuse', pax(size=b'12x'), ok)
    tar('pax-size-overflow', 'refuse', pax(size=b'18446744073709551617'), ok)
    tar('pax-size-near-max', 'refuse', pax(size=b'9223372036854775807'), ok)
    tar('pax-huge', 'refuse', pax(comment=b'A' * (80 << 20)), ok)
    tar('pax-huge-announced', 'refuse', header(b'PaxHeaders/x', b'x', size=1 << 33), ok)
    tar('pax-global-path', 'safe', paxd({b'path': b'../evil'}, b'g'), ok)
    tar('pax-global-size', 'safe', paxd({b'size': b'1024'}, b'g'), ok, SMUGGLED)
    tar('pax-global-many', 'safe', *([pax(kind=b'g', comment=b'x')] * 5000), ok)
    tar('pax-after-pax', 'safe', *([pax(comment=b'x')] * 5000), ok)
    tar('pax-at-end', 'refuse', pax(path=b'nothing-follows'))
    tar('pax-mtime-text', 'refuse', pax(mtime=b'yesterday'), ok)
    tar('pax-mtime-huge', 'safe', pax(mtime=b'9' * 400), ok)
    tar('pax-mtime-long-fraction', 'safe', pax(mtime=b'1.' + b'9' * 400), ok)
    tar('pax-uid-negative', 'refuse', pax(uid=b'-1'), ok)
    tar('pax-duplicate-keys', 'safe',
        pax_raw(record(b'path', b'../evil') + record(b'path', b'fine')), ok)
    tar('pax-charset', 'safe', pax(hdrcharset=b'BINARY', path=b'\xff'), ok)


def numbers():
    tar('size-base256-negative', 'refuse', entry(b'f', b'x', size=-512), SMUGGLED)
    tar('size-base256-huge', 'refuse', entry(b'f', b'x', size=1 << 80))
    tar('size-not-octal', 'refuse', entry(b'f', b'x', size=b'99999999999'))
    tar('size-octal-garbage', 'refuse', entry(b'f', b'x', size=b'7x'))
    tar('checksum-bad', 'refuse', entry(b'f', b'x', checksum=b'000001\0 '))
    tar('checksum-blank', 'refuse', entry(b'f', b'x', checksum=b'        '))
    tar('uid-2^32-1', 'refuse', entry(b'f', b'x', uid=0xFFFFFFFF))
    tar('gid-2^32-1', 'refuse', entry(b'f', b'x', gid=0xFFFFFFFF))
    tar('uid-2^32', 'refuse', entry(b'f', b'x', uid=1 << 32))
    tar('uid-pax-2^32-1', 'refuse', pax(uid=b'4294967295'), entry(b'f', b'x'))
    tar('uid-base256-negative', 'refuse', entry(b'f', b'x', uid=-2))
    tar('mode-beyond', 'safe', entry(b'f', b'x', mode=0o7777777))
    tar('device-major-range', 'refuse', entry(b'f', kind=b'3', major=0o7777777, minor=1))
    tar('device-minor-range', 'refuse', entry(b'f', kind=b'4', major=1, minor=1 << 21))
    tar('device-negative', 'refuse', entry(b'f', kind=b'4', major=-1, minor=1))
    tar('setuid-root', 'accept', entry(b'f', b'x', mode=0o4755))


def shape():
    ok = entry(b'ok', b'x')
    tar('no-end-blocks', 'refuse', ok, end=b'')
    tar('one-end-block', 'refuse', ok, end=b'\0' * 512)
    tar('cut-in-content', 'refuse', entry(b'f', b'x' * 5000)[:2048], end=b'')
    tar('cut-in-header', 'refuse', ok, entry(b'f')[:200], end=b'')
    tar('after-the-end', 'refuse', ok, end=END + SMUGGLED + END)
    tar('after-the-end-garbage', 'refuse', ok, end=END + b'garbage')
    tar('zero-block-between', 'refuse', ok, b'\0' * 512, SMUGGLED)
    tar('empty-tar', 'safe', end=END)
    for kind in (b'Z', b'D', b'M', b'N', b'V', b'8', b'A', b'\xff'):
        tar('type-%02x' % kind[0], 'refuse' if kind in b'Z8A\xff' else 'safe',
            entry(b'f', b'x', kind=kind))
    tar('type-contiguous', 'safe', entry(b'f', b'x', kind=b'7'))
    tar('type-old', 'safe', entry(b'f', b'x', kind=b'\0', magic=b''))
    tar('directory-with-data', 'safe', entry(b'd', SMUGGLED, kind=b'5'))
    tar('symlink-with-data', 'safe', entry(b'l', SMUGGLED, kind=b'2', link=b'x'))
    tar('fifo-with-data', 'safe', entry(b'p', SMUGGLED, kind=b'6'))
    tar('device-with-data', 'safe', entry(b'c', SMUGGLED, kind=b'3', major=1, minor=3))
    tar('longname-dotdot', 'refuse', entry(b'././@LongLink', b'../evil\0', kind=b'L'), ok)
    tar('longname-no-nul', 'safe', entry(b'././@LongLink', b'fine', kind=b'L'), ok)
    tar('longname-nul-inside', 'safe', entry(b'././@LongLink', b'a\0/../../x\0', kind=b'L'), ok)
    tar('longname-empty', 'safe', entry(b'././@LongLink', b'', kind=b'L'), ok)
    tar('longname-announced', 'refuse', header(b'././@LongLink', b'L', size=1 << 33), ok)
    tar('longname-at-end', 'refuse', entry(b'././@LongLink', b'x\0', kind=b'L'))
    tar('longlink-absolute', 'refuse', entry(b'././@LongLink', CANARY + b'/file\0', kind=b'K'),
        hardlink(b'h', b'ok'))


def sparse_lies():
    def sparse(name, expected, table, data=b'', real=1 << 20, options=''):
        content = padded(table) + data
        records = {b'GNU.sparse.major': b'1', b'GNU.sparse.minor': b'0', b'GNU.sparse.name': b'f',
                   b'GNU.sparse.realsize': b'%d' % real}
        tar('sparse-' + name, expected, paxd(records), entry(b'GNUSparseFile.0/f', content),
            options=options)
    sparse('overlap', 'refuse', b'2\n0\n512\n256\n512\n', b'x' * 1024)
    sparse('backwards', 'refuse', b'2\n4096\n512\n0\n512\n', b'x' * 1024)
    sparse('beyond-end', 'refuse', b'1\n1048576\n512\n', b'x' * 512)
    sparse('short-data', 'refuse', b'2\n0\n512\n4096\n4096\n', b'x' * 512)
    sparse('more-data', 'refuse', b'1\n0\n512\n', b'x' * 512 + SMUGGLED)
    sparse('count-lies', 'refuse', b'5\n0\n512\n', b'x' * 512)
    sparse('count-huge', 'refuse', b'999999999999999999\n0\n512\n', b'x' * 512)
    sparse('count-overflow', 'refuse', b'9' * 40 + b'\n0\n512\n', b'x' * 512)
    sparse('negative', 'refuse', b'1\n-512\n512\n', b'x' * 512)
    sparse('wraps', 'refuse', b'1\n18446744073709551615\n512\n', b'x' * 512)
    sparse('text', 'refuse', b'one\n0\n512\n', b'x' * 512)
    sparse('no-newline', 'refuse', b'1' * 512, b'')
    sparse('many-extents', 'safe', b'1000000\n' + b''.join(
        b'%d\n1\n' % (i * 2) for i in range(1_000_000)), b'x' * 1_000_000, real=2_000_000)
    tar('sparse-name-dotdot', 'refuse', paxd({
        b'GNU.sparse.major': b'1', b'GNU.sparse.minor': b'0', b'GNU.sparse.name': b'../evil',
        b'GNU.sparse.realsize': b'0'}), entry(b'f', padded(b'0\n')))
    sparse('realsize-negative', 'refuse', b'0\n', real=-1)
    sparse('realsize-huge', 'lenient', b'0\n', real=1 << 62)
    tar('sparse-version-2', 'refuse', paxd({
        b'GNU.sparse.major': b'2', b'GNU.sparse.minor': b'0', b'GNU.sparse.name': b'f',
        b'GNU.sparse.realsize': b'10'}), entry(b'f', padded(b'0\n')))
    tar('sparse-old-gnu', 'safe', entry(b'f', b'x' * 512, kind=b'S', magic=b'ustar  \0'))


def overlay():
    tar('whiteout-no-name', 'refuse', entry(b'.wh.'))
    tar('whiteout-dot', 'refuse', entry(b'.wh..'))
    tar('whiteout-dotdot', 'refuse', entry(b'.wh...'))
    tar('whiteout-dotdot-below', 'refuse', directory(b'd'), entry(b'd/.wh...'))
    tar('whiteout-with-data', 'refuse', entry(b'.wh.f', b'data'))
    tar('whiteout-directory', 'refuse', directory(b'.wh.f'))
    tar('whiteout-symlink', 'refuse', symlink(b'.wh.f', CANARY))
    tar('whiteout-hardlink', 'refuse', entry(b'f', b'x'), hardlink(b'.wh.g', b'f'))
    tar('whiteout-through-symlink', 'refuse', symlink(b'l', CANARY), entry(b'l/.wh.file'))
    tar('whiteout-as-parent', 'refuse', entry(b'.wh.d/x', b'x'))
    tar('whiteout-reserved', 'safe', entry(b'.wh..wh.plnk'))
    tar('whiteout-and-directory', 'safe', entry(b'.wh.d'), directory(b'd'), entry(b'd/f', b'x'))
    tar('whiteout-twice', 'safe', entry(b'.wh.f'), entry(b'.wh.f'))
    tar('whiteout-device-below', 'refuse', entry(b'w', kind=b'3'), entry(b'w/x', b'x'))
    tar('opaque-root', 'accept', entry(b'.wh..wh..opq'))
    tar('opaque-late', 'safe', directory(b'd'), entry(b'd/f', b'x'), entry(b'd/.wh..wh..opq'))
    tar('opaque-no-directory', 'safe', entry(b'nowhere/.wh..wh..opq'))
    tar('opaque-through-symlink', 'refuse', symlink(b'l', CANARY), entry(b'l/.wh..wh..opq'))
    tar('opaque-is-directory', 'refuse', directory(b'.wh..wh..opq'))
    tar('apply-through-symlink', 'refuse', symlink(b'l', CANARY), entry(b'l/.wh.file'),
        options='--whiteouts=apply')
    tar('apply-opaque-through-symlink', 'refuse', symlink(b'l', CANARY), entry(b'l/.wh..wh..opq'),
        options='--whiteouts=apply')
    for space in (b'trusted', b'user'):
        for what, value in ((b'redirect', b'/etc'), (b'metacopy', b''), (b'whiteout', b'')):
            tar('xattr-%s-%s' % (space.decode(), what.decode()), 'safe', paxd({
                b'SCHILY.xattr.%s.overlay.%s' % (space, what): value}), entry(b'f', b'x'))


def xattrs():
    ok = entry(b'f', b'x')
    tar('xattr-no-name', 'safe', paxd({b'SCHILY.xattr.': b'x'}), ok)
    tar('xattr-unknown-space', 'safe', paxd({b'SCHILY.xattr.bogus.name': b'x'}), ok)
    tar('xattr-name-too-long', 'safe', paxd({b'SCHILY.xattr.user.' + b'n' * 300: b'x'}), ok)
    tar('xattr-nul-in-name', 'safe', paxd({b'SCHILY.xattr.user.a\0b': b'x'}), ok)
    tar('xattr-value-too-long', 'safe', paxd({b'SCHILY.xattr.user.big': b'v' * 70000}), ok)
    tar('xattr-acl-garbage', 'safe', paxd({b'SCHILY.acl.access': b'garbage,,:::'}), ok)
    tar('xattr-acl-binary-garbage', 'safe',
        paxd({b'SCHILY.xattr.system.posix_acl_access': b'\xff' * 30}), ok)
    tar('xattr-capability-garbage', 'safe',
        paxd({b'SCHILY.xattr.security.capability': b'\xff' * 7}), ok)


def bombs():
    zeros = layerfmt.compress(b'\0' * (8 << 20))
    size = 1 << 30
    head = root() + header(b'bomb', size=size)
    tail = END
    whole = hashlib.sha256(head)
    for _ in range(size >> 23):
        whole.update(b'\0' * (8 << 20))
    whole.update(tail)
    data = ([(layerfmt.compress(head), len(head))] + [(zeros, 8 << 20)] * (size >> 23)
            + [(layerfmt.compress(tail), len(tail))])
    blob = layerfmt.make(b'', data=data, digest=whole.hexdigest(),
                         size_bytes=len(head) + size + 1024, file_count=2)
    stream('bomb-1g', 'refuse', blob, '--max-size=64MiB')
    stream('bomb-1g.foreign', 'refuse', b''.join(f for f, _ in data),
           '--foreign --max-size=64MiB')
    # One frame, no content size: RLE blocks of 128 KiB, 4 bytes each.
    blocks = START + (struct.pack('<I', (128 << 10) << 3 | 2)[:3] + b'\0') * 8191
    blocks += struct.pack('<I', (128 << 10) << 3 | 2 | 1)[:3] + b'\0'
    stream('bomb-rle', 'refuse', layerfmt.compress(head) + blocks + layerfmt.compress(tail),
           '--foreign --max-size=64MiB')


# The table of contents of a tar of "./" and 600 bytes of x in "ok".
TWO_ENTRIES = [{'type': 'd', 'path': b'.'},
               {'type': 'f', 'path': b'ok', 'size': 600, 'offset': 512,
                'sha256': hashlib.sha256(b'x' * 600).digest()}]


def zstd_lies():
    good = root() + entry(b'ok', b'x' * 600) + END
    frame = layerfmt.compress(good)
    honest = layerfmt.make(good, TWO_ENTRIES)

    def both(name, blob, expected='refuse'):
        """As bare frames, and as the data of a stream whose trailer is true of them."""
        stream(name + '.foreign', expected, blob, '--foreign')
        stream(name, expected, layerfmt.make(good, data=[(blob, len(good))]))
    raw = struct.pack('<I', len(good) << 3 | 1)[:3] + good  # one last raw block
    both('window-31', b'\x28\xb5\x2f\xfd\x00' + bytes([(31 - 10) << 3]) + raw)
    both('window-41', b'\x28\xb5\x2f\xfd\x00\xf8' + raw)
    both('dictionary', b'\x28\xb5\x2f\xfd\x23\x01\0\0\0' + bytes([len(good) & 255]) + raw)
    both('reserved-bit', b'\x28\xb5\x2f\xfd\x08\x58' + raw)
    both('reserved-block', START + struct.pack('<I', 8 << 3 | 7)[:3] + b'x' * 8)
    both('block-too-big', START + struct.pack('<I', (200 << 10) << 3 | 1)[:3] + b'x' * (200 << 10))
    both('content-size-2^60', b'\x28\xb5\x2f\xfd\xe0' + struct.pack('<Q', 1 << 60) + raw)
    both('content-size-short', b'\x28\xb5\x2f\xfd\xa0' + struct.pack('<I', len(good) - 512) + raw)
    both('content-size-long', b'\x28\xb5\x2f\xfd\xa0' + struct.pack('<I', len(good) + 512) + raw)
    both('frame-checksum', frame[:-1] + bytes([frame[-1] ^ 1]))
    both('legacy-magic', b'\x27\xb5\x2f\xfd' + frame[4:])
    both('gzip', b'\x1f\x8b\x08\0\0\0\0\0\0\x03' + b'x' * 50)
    both('plain-tar', good)
    stream('empty', 'refuse', b'')
    stream('empty.foreign', 'refuse', b'', '--foreign')
    stream('one-byte', 'refuse', b'\x28', '--foreign')
    stream('skippable-only', 'refuse', layerfmt.skippable(0, b'x'), '--foreign')
    stream('skippable-announced', 'refuse',
           frame + struct.pack('<II', 0x184D2A50, 0xFFFFFFFF) + b'x', '--foreign')
    stream('skippable-between', 'safe', layerfmt.skippable(5, b'x' * 100) + frame, '--foreign')
    stream('bytes-after.foreign', 'refuse', frame + b'garbage', '--foreign')
    stream('no-trailer', 'refuse', frame)
    stream('honest', 'accept', honest)
    stream('second-stream', 'refuse', honest + honest)
    stream('second-frame', 'refuse', honest + layerfmt.compress(SMUGGLED + END))
    stream('byte-after', 'refuse', honest + b'\0')


def trailer_lies():
    good = root() + entry(b'ok', b'x' * 600) + END
    toc = TWO_ENTRIES

    def lie(name, expected='refuse', **lies):
        stream(name, expected, layerfmt.make(good, toc, **lies))
    for field, value in (('digest', '0' * 64), ('digest', 'zz'), ('size_bytes', len(good) + 512),
                         ('size_bytes', -1), ('size_bytes', 1e300), ('size_bytes', '7'),
                         ('file_count', 7), ('data_frames', 2), ('data_bytes', 1),
                         ('before_bytes', 1), ('before_sha256', '0' * 64), ('zl_layer', 2)):
        lie('trailer-%s-%s' % (field, str(value)[:6]), **{field: value})
    line = json.dumps({'zl_layer': 1}).encode()
    lie('trailer-no-fields', trailer=layerfmt.trailer_payload(line))
    lie('trailer-not-json', trailer=layerfmt.trailer_payload(b'{"zl_layer":1'))
    lie('trailer-deep-json', trailer=layerfmt.trailer_payload(b'[' * 200000 + b']' * 200000))
    lie('trailer-checksum', trailer=layerfmt.trailer_payload(line, '0' * 64))
    lie('trailer-empty', trailer=b'')
    lie('trailer-2m', trailer=b'x' * (2 << 20))
    lie('seek-count', seek=layerfmt.seek_payload([(1, 1)], count=1000))
    lie('seek-rows', seek=layerfmt.seek_payload([(1, 1), (2, 0), (3, 0)]))
    lie('seek-empty', seek=b'')
    lie('seek-magic', seek=layerfmt.seek_payload([])[:-1] + b'\0')
    lie('toc-garbage', 'safe', toc=b'garbage')
    lie('toc-other-names', 'safe', toc=layerfmt.toc_payload([{'type': 'f', 'path': b'../evil'}]))
    lie('toc-frame-beyond', 'safe', toc=layerfmt.toc_payload(
        [dict(e, frame=1000) for e in toc]))
    honest = layerfmt.make(good, toc)
    every = layerfmt.frames(honest)
    cut = {name: honest[at:at + size]
           for name, (at, size, _) in zip(('data', 'toc', 'trailer', 'seek'), every)}
    for name, order in (('no-seek', 'data toc trailer'), ('no-toc', 'data trailer seek'),
                        ('no-data', 'toc trailer seek'), ('order', 'data trailer toc seek'),
                        ('trailer-twice', 'data toc trailer trailer seek'),
                        ('data-twice', 'data data toc trailer seek'),
                        ('trailer-first', 'toc trailer data seek')):
        stream('frames-' + name, 'refuse', b''.join(cut[k] for k in order.split()))


def main():
    global CANARY
    out, CANARY = sys.argv[1], os.fsencode(os.path.abspath(sys.argv[2]))
    os.makedirs(out, exist_ok=True)
    for make in (escapes, links, names, pax_lies, numbers, shape, sparse_lies, overlay, xattrs,
                 bombs, zstd_lies, trailer_lies):
        make()
    lines = []

    def put(name, expected, options, blob):
        with open(os.path.join(out, name), 'wb') as f:
            f.write(blob)
        lines.append('%s\t%s\t%s\n' % (name, expected, options))
    for name, expected, tar_bytes, options, *blob in CASES:
        if tar_bytes is None:
            put(name, expected, options, blob[0])
        else:
            put(name, expected, options, layerfmt.make(tar_bytes, [{'type': 'd', 'path': b'.'}],
                                                       file_count=count_members(tar_bytes)))
            put(name + '.foreign', 'lenient' if name in LENIENT else expected,
                (options + ' --foreign').strip(), layerfmt.compress(tar_bytes))
    with open(os.path.join(out, 'cases.tsv'), 'w') as f:
        f.writelines(lines)


def count_members(tar_bytes):
    """What a lenient reader would count, so that file_count is not what gives a case away."""
    count = at = 0
    while at + 512 <= len(tar_bytes) and tar_bytes[at:at + 512].count(0) != 512:
        kind, size = tar_bytes[at + 156:at + 157], tar_bytes[at + 124:at + 135]
        count += kind not in b'xgLK' or kind == b'\0'
        try:
            at += 512 + -(-int(size, 8) // 512) * 512
        except ValueError:
            break
    return count


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
