#!/usr/bin/env python3
"""layerfmt.py frames FILE     -- one line per frame: offset, size, "data" or the skippable variant
   layerfmt.py check FILE      -- proves a layer stream against zl-format(5), without our code
   layerfmt.py trailer FILE    -- prints the trailer's JSON
   layerfmt.py toc FILE        -- prints the table of contents, one JSON object per entry
   layerfmt.py make TAR OUT    -- a layer stream around any tar bytes, true trailer included

An independent implementation of the layer stream, for tests only: it judges what zl-pack writes,
and makes the streams that no honest packer would."""
import ctypes
import hashlib
import json
import struct
import sys
import tarfile

ZSTD_MAGIC = 0xFD2FB528
SKIPPABLE = 0x184D2A50
TOC, TRAILER, SEEK = 0x0, 0x1, 0xE
CHECKSUM_FLAG = 201  # ZSTD_c_checksumFlag

_lib = ctypes.CDLL('libzstd.so.1')
for _name in ('ZSTD_compressBound', 'ZSTD_compress2', 'ZSTD_decompress', 'ZSTD_isError'):
    getattr(_lib, _name).restype = ctypes.c_size_t
_lib.ZSTD_createCCtx.restype = ctypes.c_void_p
_lib.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong


def compress(data, checksum=True):
    """One zstd frame with its content size."""
    ctx = ctypes.c_void_p(_lib.ZSTD_createCCtx())
    _lib.ZSTD_CCtx_setParameter(ctx, CHECKSUM_FLAG, int(checksum))
    room = _lib.ZSTD_compressBound(ctypes.c_size_t(len(data)))
    out = ctypes.create_string_buffer(room)
    size = _lib.ZSTD_compress2(ctx, out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)))
    _lib.ZSTD_freeCCtx(ctx)
    assert not _lib.ZSTD_isError(ctypes.c_size_t(size))
    return out.raw[:size]


def decompress(frame):
    size = _lib.ZSTD_getFrameContentSize(frame, ctypes.c_size_t(len(frame)))
    known = size < 1 << 62
    for room in [size] if known else [1 << n for n in range(16, 30, 2)]:
        out = ctypes.create_string_buffer(max(room, 1))
        got = _lib.ZSTD_decompress(out, ctypes.c_size_t(room), frame, ctypes.c_size_t(len(frame)))
        if not _lib.ZSTD_isError(ctypes.c_size_t(got)) and (not known or got == size):
            return out.raw[:got]
    raise ValueError('corrupt frame')


def skippable(variant, payload):
    return struct.pack('<II', SKIPPABLE + variant, len(payload)) + payload


def frame_end(blob, pos):
    """End of the frame at POS, by its headers (RFC 8878 3.1.1, 3.1.2)."""
    magic, = struct.unpack_from('<I', blob, pos)
    if magic & ~0xF == SKIPPABLE:
        return pos + 8 + struct.unpack_from('<I', blob, pos + 4)[0]
    if magic != ZSTD_MAGIC:
        raise ValueError('no frame at %d' % pos)
    descriptor = blob[pos + 4]
    single = descriptor >> 5 & 1
    at = pos + 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    at += (single, 2, 4, 8)[descriptor >> 6]
    while True:
        block = int.from_bytes(blob[at:at + 3], 'little')
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
        if block & 1:
            return at + (4 if descriptor & 4 else 0)


def frames(blob):
    """[(offset, size, None or the skippable variant)], up to the end exactly."""
    out, pos = [], 0
    while pos < len(blob):
        magic, = struct.unpack_from('<I', blob, pos)
        end = frame_end(blob, pos)
        out.append((pos, end - pos, magic & 0xF if magic & ~0xF == SKIPPABLE else None))
        pos = end
    if pos != len(blob):
        raise ValueError('the last frame is cut')
    return out


def varint(n):
    out = b''
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def toc_payload(entries):
    """ENTRIES: dicts with type, path (bytes) and optionally size, frame, offset, link, sha256."""
    raw, last, last_frame = b'ZLTOC1\n', b'', 0
    for e in entries:
        path = e['path']
        shared = 0
        while shared < min(len(path), len(last)) and path[shared] == last[shared]:
            shared += 1
        rest = path[shared:]
        raw += e['type'].encode() + varint(shared) + varint(len(rest)) + rest
        raw += varint(e.get('size', 0)) + varint(e.get('frame', 0) - last_frame)
        raw += varint(e.get('offset', 0))
        if e['type'] == 'h':
            raw += varint(e.get('link', 0))
        if e['type'] == 'f':
            raw += e.get('sha256', hashlib.sha256(b'').digest())
        last, last_frame = path, e.get('frame', 0)
    return compress(raw + b'\0' + varint(len(entries)))


def read_toc(payload):
    raw, pos = decompress(payload), 7
    if raw[:7] != b'ZLTOC1\n':
        raise ValueError('no table of contents')

    def number():
        nonlocal pos
        n = shift = 0
        while True:
            byte = raw[pos]
            pos += 1
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n
    out, last, frame = [], b'', 0
    while raw[pos]:
        e = {'type': chr(raw[pos])}
        pos += 1
        shared = number()
        length = number()
        last = e['path'] = last[:shared] + raw[pos:pos + length]
        pos += length
        e['size'] = number()
        frame = e['frame'] = frame + number()
        e['offset'] = number()
        if e['type'] == 'h':
            e['link'] = number()
        if e['type'] == 'f':
            e['sha256'] = raw[pos:pos + 32]
            pos += 32
        out.append(e)
    pos += 1
    if number() != len(out) or pos != len(raw):
        raise ValueError('table of contents: wrong count or bytes after it')
    return out


def trailer_payload(fields, checksum=None):
    line = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return line + b'\n' + (checksum or hashlib.sha256(line).hexdigest()).encode() + b'\n'


def seek_payload(rows, count=None):
    return (b''.join(struct.pack('<II', *r) for r in rows)
            + struct.pack('<IBI', len(rows) if count is None else count, 0, 0x8F92EAB1))


def make(tar, entries=None, frame_size=4 << 20, data=None, **lies):
    """A layer stream around TAR. DATA: ready frames [(bytes, content size)] instead of cut TAR.
    LIES replace trailer fields; toc=, trailer=, seek= replace payloads, after= is appended."""
    if data is None:
        pieces = [tar[i:i + frame_size] for i in range(0, len(tar), frame_size)] or [b'']
        data = [(compress(p), len(p)) for p in pieces]
    toc = skippable(TOC, lies.pop('toc', None) or toc_payload(entries or []))
    before = b''.join(f for f, _ in data)
    fields = {'zl_layer': 1, 'digest': hashlib.sha256(tar).hexdigest(), 'size_bytes': len(tar),
              'file_count': len(entries or []), 'data_frames': len(data),
              'data_bytes': len(before), 'before_bytes': len(before) + len(toc),
              'before_sha256': hashlib.sha256(before + toc).hexdigest(), 'incomplete': False,
              'skipped_count': 0, 'skipped': []}
    trailer, seek, after = (lies.pop(k, None) for k in ('trailer', 'seek', 'after'))
    fields.update(lies)
    trailer = skippable(TRAILER, trailer_payload(fields) if trailer is None else trailer)
    rows = [(len(f), n) for f, n in data] + [(len(toc), 0), (len(trailer), 0)]
    seek = skippable(SEEK, seek_payload(rows) if seek is None else seek)
    return before + toc + trailer + seek + (after or b'')


def parse(blob):
    """(data frames, toc, trailer fields, tar, content of each frame); ValueError if not true."""
    def need(ok, what):
        if not ok:
            raise ValueError(what)
    every = frames(blob)
    need([v for _, _, v in every[-3:]] == [TOC, TRAILER, SEEK], 'frames at the end')
    data = every[:-3]
    need(all(v is None for _, _, v in data), 'skippable frame among the data')
    toc_at, trailer_at, seek_at = (f[0] for f in every[-3:])
    line, total, rest = blob[trailer_at + 8:seek_at].split(b'\n')
    need(rest == b'' and hashlib.sha256(line).hexdigest() == total.decode(), 'trailer checksum')
    t = json.loads(line)
    contents = [decompress(blob[o:o + n]) for o, n, _ in data]
    need(all(blob[o + 4] & 4 for o, _, _ in data), 'data frame without checksum')
    tar = b''.join(contents)
    need(t['zl_layer'] == 1, 'format')
    need(t['digest'] == hashlib.sha256(tar).hexdigest(), 'digest')
    need(t['size_bytes'] == len(tar), 'size_bytes')
    need(t['data_frames'] == len(data), 'data_frames')
    need(t['data_bytes'] == toc_at, 'data_bytes')
    need(t['before_bytes'] == trailer_at, 'before_bytes')
    need(t['before_sha256'] == hashlib.sha256(blob[:trailer_at]).hexdigest(), 'before_sha256')
    rows = [(n, len(c)) for (_, n, _), c in zip(data, contents)]
    rows += [(trailer_at - toc_at, 0), (seek_at - trailer_at, 0)]
    need(blob[seek_at + 8:] == seek_payload(rows), 'seek table')
    return data, read_toc(blob[toc_at + 8:trailer_at]), t, tar, contents


def stored_data(tar, at):
    """What follows the headers of the entry at this offset: the content, or a sparse map and data."""
    pax_size = None
    while True:
        size = int(tar[at + 124:at + 135], 8)
        if tar[at + 156:at + 157] != b'x':
            size = size if pax_size is None else pax_size
            return tar[at + 512:at + 512 + size]
        records = tar[at + 512:at + 512 + size]
        while records:
            length = int(records[:records.index(b' ')])
            key, value = records[records.index(b' ') + 1:length - 1].split(b'=', 1)
            if key == b'size':
                pax_size = int(value)
            records = records[length:]
        at += 512 + (size + 511) // 512 * 512


def check(blob):
    """Also holds the table of contents against the tar, as python's tarfile reads it."""
    import io
    data, toc, trailer, tar, contents = parse(blob)
    starts = [0]
    for content in contents:
        starts.append(starts[-1] + len(content))
    archive = tarfile.open(fileobj=io.BytesIO(tar), encoding='utf-8', errors='surrogateescape')
    members = archive.getmembers()
    if len(members) != len(toc) or len(toc) != trailer['file_count']:
        raise ValueError('%d members, %d in the toc, file_count %d'
                         % (len(members), len(toc), trailer['file_count']))
    for member, e in zip(members, toc):
        name = member.name.encode('utf-8', 'surrogateescape')
        if name.removeprefix(b'./') != e['path'].removeprefix(b'./'):
            raise ValueError('toc has %r where the tar has %r' % (e['path'], name))
        at = starts[e['frame']] + e['offset']
        if at > member.offset or at % 512 or tar[at + 257:at + 262] != b'ustar':
            raise ValueError('toc offset of %r' % name)
        if e['type'] == 'f':
            if member.size != e['size'] or (
                    hashlib.sha256(stored_data(tar, at)).digest() != e['sha256']):
                raise ValueError('toc size or sha256 of %r' % name)
        if e['type'] == 'h':
            target = members[e['link']].name
            if member.linkname.removeprefix('./') != target.removeprefix('./'):
                raise ValueError('toc link of %r' % name)
    if tar[-1024:] != b'\0' * 1024:
        raise ValueError('tar does not end on two zero blocks')


def main(args):
    with open(args[1], 'rb') as f:
        blob = f.read()
    if args[0] == 'frames':
        for offset, size, variant in frames(blob):
            print(offset, size, 'data' if variant is None else '%X' % variant)
    elif args[0] == 'check':
        check(blob)
    elif args[0] == 'trailer':
        print(json.dumps(parse(blob)[2]))
    elif args[0] == 'toc':
        for e in parse(blob)[1]:
            print(json.dumps({k: v.hex() if k == 'sha256' else v.decode('latin1')
                              if k == 'path' else v for k, v in e.items()}))
    elif args[0] == 'make':
        with open(args[2], 'wb') as f:
            f.write(make(blob))
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1:])
