#!/usr/bin/env python3
"""walker.py [OPTIONS] A [B]   -- prints the manifest of tree A, or the differences between A and B

An independent judge of "the same tree", sharing no code with the tools under test. Walks with
directory handles, so that paths beyond PATH_MAX work, and compares of every entry, the root
included: type, mode, owner, mtime to the nanosecond, size, content, link target, device number,
every extended attribute that the caller can see (ACLs and capabilities among them), which names
are one inode, and that B has no more data allocated than A. Nothing is ignored unless asked for.

  --ignore-sockets      sockets of A need not be in B
  --ignore ATTR[,ATTR]  one of: mode owner mtime rdev xattr links alloc, or xattr:NAME
  --ignore-path GLOB    neither the entry nor what is below it (repeatable)
  --upper               compare as OverlayFS upper directories: every form of whiteout is the same
                        whiteout, housekeeping xattrs (origin, impure, ...) do not count, whiteouts
                        inside an opaque directory neither
  --names               print only the paths of A, NUL-terminated

Exit: 0 the same, 1 differences (printed), 2 could not look."""
import argparse
import fnmatch
import hashlib
import os
import resource
import stat
import sys

HOUSEKEEPING = ('origin', 'impure', 'nlink', 'uuid', 'upper', 'protattr')
PAGE = 4096


def data_ranges(fd, size):
    """The ranges of a file that are not holes, as the file system tells it."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
        offset = end


def content_of(fd, size):
    """(hash, bytes in data ranges): zero pages do not enter the hash, so holes equal zeros."""
    digest, data = hashlib.sha256(), 0
    for start, end in data_ranges(fd, size):
        data += end - start
        os.lseek(fd, start, os.SEEK_SET)
        position = start
        while position < end:
            block = os.read(fd, min(end - position, 1 << 20))
            if not block:
                break
            if block.count(0) != len(block):
                for i in range(0, len(block), PAGE):
                    page = block[i:i + PAGE]
                    if page.count(0) != len(page):
                        digest.update(b'%d:' % (position + i))
                        digest.update(page.rstrip(b'\0'))
            position += len(block)
    return digest.hexdigest()[:24], data


def xattrs_of(dir_fd, name):
    """Extended attributes of NAME itself, a symlink included, through the directory handle."""
    path = b'/proc/self/fd/%d/%s' % (dir_fd, name)
    found = {}
    for key in os.listxattr(path, follow_symlinks=False):
        found[key] = os.getxattr(path, key, follow_symlinks=False)
    return found


def describe(dir_fd, name, path, inodes):
    st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    kind = stat.filemode(st.st_mode)[0]
    entry = {'type': kind, 'owner': (st.st_uid, st.st_gid), 'mtime': st.st_mtime_ns}
    if kind != 'l':
        entry['mode'] = oct(stat.S_IMODE(st.st_mode))
    if kind in 'cb':
        entry['rdev'] = (os.major(st.st_rdev), os.minor(st.st_rdev))
    if kind in '-l':
        entry['size'] = st.st_size
    if kind == 'l':
        entry['target'] = os.readlink(name, dir_fd=dir_fd)
    if kind != 'd':
        entry['links'] = inodes.setdefault((st.st_dev, st.st_ino), path)
    for key, value in xattrs_of(dir_fd, name).items():
        entry['xattr:' + key] = value.hex()
    if kind == '-':
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=dir_fd)
        try:
            os.fsync(fd)  # delayed allocation would hide blocks
            entry['content'], data = content_of(fd, st.st_size)
            entry['alloc'] = (data, os.fstat(fd).st_blocks * 512)
        finally:
            os.close(fd)
    return entry


def walk(dir_fd, prefix, out, inodes, skip):
    for name in sorted(os.fsencode(n) for n in os.listdir(dir_fd)):
        path = prefix + b'/' + name if prefix else name
        if any(fnmatch.fnmatchcase(os.fsdecode(path), g) for g in skip):
            continue
        out[path] = describe(dir_fd, name, path, inodes)
        if out[path]['type'] == 'd':
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
            try:
                walk(fd, path, out, inodes, skip)
            finally:
                os.close(fd)


def manifest(root, skip):
    """{path: attributes}; holds one descriptor per level of depth."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setrecursionlimit(100000)
    out = {}
    parent = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        out[b'.'] = describe(parent, b'.', b'.', {})
        walk(parent, b'', out, {}, skip)
    finally:
        os.close(parent)
    return out


def overlay_attr(entry, attr):
    for space in ('trusted', 'user'):
        value = entry.get('xattr:%s.overlay.%s' % (space, attr))
        if value is not None:
            return value
    return None


def is_whiteout(entry):
    if entry['type'] == 'c' and entry['rdev'] == (0, 0):
        return True
    return (entry['type'] == '-' and entry['size'] == 0
            and overlay_attr(entry, 'whiteout') is not None)


def as_upper(tree):
    """What the tree says to OverlayFS, free of the form in which it says it."""
    opaque = {p for p, e in tree.items() if e['type'] == 'd' and overlay_attr(e, 'opaque') == '79'}
    out = {}
    for path, entry in tree.items():
        if is_whiteout(entry):
            if (path.rpartition(b'/')[0] or b'.') not in opaque:
                out[path] = {'type': 'whiteout'}
            continue
        kept = {}
        for key, value in entry.items():
            space, _, rest = key.partition('.overlay.')
            if space in ('xattr:trusted', 'xattr:user') and not rest.startswith('overlay.'):
                if rest in HOUSEKEEPING or (rest == 'opaque' and value != '79'):
                    continue
                key = 'xattr:overlay.' + rest
            kept[key] = value
        out[path] = kept
    return out


def shown(path):
    text = path.decode('utf8', 'backslashreplace').replace('\n', '\\n')
    return text if len(text) < 90 else '%s...(%d bytes)' % (text[:60], len(path))


def ignored(key, ignore):
    return key in ignore or (key.startswith('xattr:') and 'xattr' in ignore)


def differences(a, b, args):
    for path in sorted(set(a) | set(b)):
        if path not in b:
            if not (args.ignore_sockets and a[path]['type'] == 's'):
                yield 'missing  ' + shown(path)
            continue
        if path not in a:
            yield 'extra    ' + shown(path)
            continue
        left, right = a[path], b[path]
        parts = []
        for key in sorted(set(left) | set(right)):
            if ignored(key, args.ignore) or key == 'alloc':
                continue
            if left.get(key) != right.get(key):
                parts.append('%s: %.60s -> %.60s' % (key, left.get(key), right.get(key)))
        if 'alloc' in left and 'alloc' in right and 'alloc' not in args.ignore:
            # Blocks also hold extent trees and attributes, which differ by a few.
            if right['alloc'][0] > left['alloc'][0] or right['alloc'][1] > left['alloc'][1] + 65536:
                parts.append('allocated: %s -> %s' % (left['alloc'], right['alloc']))
        if parts:
            yield 'differs  %s | %s' % (shown(path), '; '.join(parts).replace('\n', '\\n'))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--ignore-sockets', action='store_true')
    parser.add_argument('--ignore', type=lambda s: s.split(','), action='extend', default=[])
    parser.add_argument('--ignore-path', action='append', default=[])
    parser.add_argument('--upper', action='store_true')
    parser.add_argument('--names', action='store_true')
    parser.add_argument('a')
    parser.add_argument('b', nargs='?')
    args = parser.parse_args()
    try:
        trees = [manifest(t, args.ignore_path) for t in (args.a, args.b) if t]
    except OSError as e:
        print('walker: %s' % e, file=sys.stderr)
        return 2
    if args.upper:
        trees = [as_upper(t) for t in trees]
    if args.names:
        sys.stdout.buffer.write(b''.join(p + b'\0' for p in trees[0]))
        return 0
    if len(trees) == 1:
        for path, entry in trees[0].items():
            print(shown(path), entry)
        return 0
    found = list(differences(trees[0], trees[1], args))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
