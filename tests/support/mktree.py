#!/usr/bin/env python3
"""mktree.py [--seed N] [--only small|files] [--with PART]... DIR   -- makes a torture tree in DIR

Every kind of entry that an OverlayFS upper directory can hold and that the tools promise to keep.
As root all of it; as another user without devices, foreign owners and trusted.* attributes.
The same arguments make the same tree; --seed changes only the order in which names are created
(and so the order in which readdir gives them), never the tree.

  --only small   a dozen small entries of different kinds (for tests that try every byte)
  --only files   no special entry at all: directories, files, symlinks, hardlinks, a sparse file
  --with PART    adds: huge (sparse, above 8 GiB), whiteouts (0:0, by xattr, opaque; root),
                 sockets, unreadable (mode 000)"""
import argparse
import os
import random
import socket
import stat
import struct
import subprocess

EPOCH_NS = 1_700_000_000_123_456_789
ROOT = os.geteuid() == 0
CAP_V2 = struct.pack('<IIIII', 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw=ep
CAP_V3 = struct.pack('<IIIIII', 0x03000001, 1 << 13, 0, 0, 0, 1000)  # the same, rootid 1000


def noise(tag, size):
    """Bytes that no compressor shrinks, the same at every call."""
    return random.Random(tag).randbytes(size)


def write(path, data=b'x', mode=0o644):
    with open(path, 'wb') as f:
        f.write(data)
    os.chmod(path, mode)


def sparse(path, size, extents):
    with open(path, 'wb') as f:
        f.truncate(size)
        for offset, length in extents:
            f.seek(offset)
            f.write(noise(offset, length))


def xattr(path, name, value):
    os.setxattr(path, name, value, follow_symlinks=False)


# Each maker is one independent part of the tree: parts may be made in any order.
def m_plain():
    write(b'empty', b'')
    write(b'text', b'hello\n' * 100)
    write(b'noise', noise('noise', 300_001))
    os.mkdir(b'emptydir')
    os.mkdir(b'dir')
    for i in range(20):
        write(b'dir/file%02d' % i, b'%d\n' % i * (i * 37))


def m_large():
    write(b'large', noise('large', 6 << 20) + b'A' * (6 << 20) + noise('large2', 1 << 20))


def m_links():
    write(b'hl_a', b'link')
    os.link(b'hl_a', b'hl_b')
    os.mkdir(b'sub')
    os.link(b'hl_a', b'sub/hl_c')
    os.symlink(b'text', b'sl')
    os.link(b'sl', b'sl_hl', follow_symlinks=False)
    os.symlink(b'loop2', b'loop1')
    os.symlink(b'loop1', b'loop2')
    os.symlink(b'/etc/hostname', b'sl_abs')
    os.symlink(b'../../../../x', b'sl_up')
    os.symlink(b'l' * 4095, b'sl_long')
    os.symlink(b'\xff\xfe', b'sl_nonutf8')


def m_fifo():
    os.mkfifo(b'fifo', 0o640)
    os.link(b'fifo', b'fifo_hl')


def m_sparse():
    sparse(b'sp_mid', 1 << 30, [(0, 4096), (1 << 29, 8192), ((1 << 30) - 4096, 4096)])
    sparse(b'sp_full', 1 << 26, [])
    sparse(b'sp_tail', 1 << 26, [(0, 4096)])
    sparse(b'sp_lead', 1 << 26, [((1 << 26) - 5, 5)])
    sparse(b'sp_odd', (1 << 21) + 12345, [(70_000, 1), (1_500_000, 100)])
    sparse(b'sp_many', 2 * 65536 * 300, [(i * 131072, 65536) for i in range(300)])


def m_times():
    for name, ns in ((b't_ns', EPOCH_NS), (b't_neg', -1_500_000_000), (b't_neg_ns', -1),
                     (b't_zero', 0), (b't_far', 10_000_000_000 * 10**9 + 7),
                     (b't_old', -2**31 * 10**9)):
        write(name)
        os.utime(name, ns=(0, ns))
    os.symlink(b'q', b't_sl')
    os.utime(b't_sl', ns=(0, 1_600_000_000_987_654_321), follow_symlinks=False)


def m_modes():
    for name, mode in ((b'suid', 0o4755), (b'sgid', 0o2755), (b'm777', 0o777), (b'm001', 0o401)):
        write(name, b'#!', mode)
    os.mkdir(b'sticky')
    os.chmod(b'sticky', 0o1777)


def m_xattrs():
    write(b'x')
    xattr(b'x', b'user.bin', bytes(range(256)))
    xattr(b'x', b'user.empty', b'')
    xattr(b'x', b'user.newline', b'a\nb=c\n')
    xattr(b'x', b'user.big', noise('xattr', 3000))
    write(b'xn')
    for name in (b'user.a b', b'user.a=b', 'user.\u00fc'.encode(), b'user.\xff', b'user.p%41',
                 b'user.nl\nname', b'user.' + b'n' * 250):
        xattr(b'xn', name, name)
    os.mkdir(b'xd')
    xattr(b'xd', b'user.d', b'1')


def m_acl():
    write(b'acl')
    subprocess.check_call(['setfacl', '-m', 'u:1234:rw,g:77:r,u:4000000000:x', 'acl'])
    os.mkdir(b'acld')
    subprocess.check_call(['setfacl', '-d', '-m', 'u:1234:rwx,g:77:r', 'acld'])


def m_names():
    for name in (b'n' * 255, b'nl\nname', b'back\\slash', b'non\xff\xfeutf8', b'-dash', b'sp ace ',
                 '\u00fc-\u00e9'.encode(), 'u\u0308-nfd'.encode(), b'.hidden', b'q"\'*?',
                 b'c\x01\x7f',
                 b'A' * 100, b'B' * 101, b'.wharf', b'a', b'a.b', b'a-b', b'a0', b'PaxHeaders.0'):
        write(name)
    os.mkdir(b'a.d')  # sorts between "a" and "a0", and its content must not tear them apart
    write(b'a.d/x')
    path = b''
    for n in range(8):
        path = os.path.join(path, b'd' * 60 + b'%d' % n)
        os.mkdir(path)
    write(path + b'/f500')
    os.link(path + b'/f500', path + b'/f500_hl')
    os.mkdir(b'dirx' * 40)
    write(b'dirx' * 40 + b'/' + b'y' * 100)


def m_deep():
    """A path of 5 KB: longer than any path that one system call takes."""
    os.mkdir(b'deep')
    fd = os.open(b'deep', os.O_RDONLY)
    for _ in range(25):
        os.mkdir(b'D' * 200, dir_fd=fd)
        below = os.open(b'D' * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    f = os.open(b'bottom', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd)
    os.write(f, b'deep')
    os.close(f)
    os.link(b'bottom', b'bottom_hl', src_dir_fd=fd, dst_dir_fd=fd)
    os.symlink(b'bottom', b'bottom_sl', dir_fd=fd)
    os.close(fd)


def m_owners():
    for name, uid, gid in ((b'uid3g', 3_000_000_000, 3_000_000_001),
                           (b'uid2097152', 2097152, 2097151),
                           (b'uidmax', 4294967294, 4294967294), (b'uid2g', 2**31 - 1, 2**31)):
        write(name)
        os.chown(name, uid, gid)
    write(b'owned_suid', b'#!')
    os.chown(b'owned_suid', 5, 6)
    os.chmod(b'owned_suid', 0o6755)
    os.symlink(b'q', b'owned_sl')
    os.chown(b'owned_sl', 7, 8, follow_symlinks=False)


def m_caps():
    for name, value in ((b'cap2', CAP_V2), (b'cap3', CAP_V3), (b'capown', CAP_V2)):
        write(name)
        if name == b'capown':
            os.chown(name, 5, 5)
        xattr(name, b'security.capability', value)


def m_trusted():
    xattr(b'.', b'trusted.root', b'r')
    os.mkdir(b'td')
    xattr(b'td', b'trusted.foo', b'2')
    os.symlink(b'z', b'xsl')
    xattr(b'xsl', b'trusted.sl', b'3\0')
    os.mkfifo(b'xfifo')
    xattr(b'xfifo', b'trusted.f', b'4')


def m_devices():
    os.mknod(b'chr', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(b'blk', 0o660 | stat.S_IFBLK, os.makedev(7, 0))
    os.mknod(b'chr_big', 0o666 | stat.S_IFCHR, os.makedev(4095, 1048575))
    os.link(b'chr', b'chr_hl')


def m_whiteouts():
    os.mkdir(b'wo')
    os.mknod(b'wo/gone1', stat.S_IFCHR, os.makedev(0, 0))
    os.link(b'wo/gone1', b'wo/gone2')  # the kernel makes all whiteouts links of one inode
    os.mkdir(b'wo/xform')
    xattr(b'wo/xform', b'trusted.overlay.opaque', b'x')
    write(b'wo/xform/gone3', b'')
    xattr(b'wo/xform/gone3', b'trusted.overlay.whiteout', b'')
    os.mkdir(b'wo/opaque')
    xattr(b'wo/opaque', b'trusted.overlay.opaque', b'y')
    xattr(b'wo/opaque', b'trusted.overlay.origin', b'\0\x01')
    write(b'wo/opaque/new')
    os.mknod(b'wo/opaque/pointless', stat.S_IFCHR, os.makedev(0, 0))
    os.mkdir(b'wo/nested')
    xattr(b'wo/nested', b'trusted.overlay.overlay.opaque', b'y')
    xattr(b'wo', b'trusted.overlay.impure', b'y')


def m_huge():
    """Sizes that do not fit the octal field: data at both ends and beyond 8 GiB."""
    sparse(b'huge', (9 << 30) + 17, [(0, 4096), (8 << 30, 65536), ((9 << 30), 17)])


def m_sockets():
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind('socket')
    os.chdir(here)


def m_unreadable():
    write(b'm000', b'secret', 0)
    os.mkdir(b'd000')
    write(b'd000/in')
    os.chmod(b'd000', 0)


def m_small():
    write(b'file', b'some text\n' * 30)
    write(b'noise', noise('s', 2000))
    os.mkdir(b'd', 0o750)
    write(b'd/inner', b'inner\n')
    os.link(b'd/inner', b'd/inner_hl')
    os.symlink(b'd/inner', b'link')
    xattr(b'file', b'user.note', b'kept')


def parts(args):
    if args.only == 'small':
        chosen = [m_small]
    elif args.only == 'files':
        chosen = [m_plain, m_large, m_links, m_sparse, m_times]
    else:
        chosen = [m_plain, m_large, m_links, m_fifo, m_sparse, m_times, m_modes, m_xattrs, m_acl,
                  m_names, m_deep]
        if ROOT:
            chosen += [m_owners, m_caps, m_trusted, m_devices]
    return chosen + [globals()['m_' + name] for name in args.extra]


def settle_times(dir_fd):
    """Directories and what has no time of its own get times that are a function of the name."""
    with os.scandir(dir_fd) as entries:
        found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
    for name, is_dir in found:
        if is_dir:
            mode = os.stat(name, dir_fd=dir_fd).st_mode
            os.chmod(name, mode | 0o700, dir_fd=dir_fd)
            fd = os.open(name, os.O_RDONLY, dir_fd=dir_fd)
            settle_times(fd)
            os.close(fd)
            os.chmod(name, stat.S_IMODE(mode), dir_fd=dir_fd)
        st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if is_dir or st.st_mtime_ns > 1_750_000_000 * 10**9 and st.st_mtime < 9 * 10**9:
            ns = EPOCH_NS + sum(os.fsencode(name)) * 1_000_003
            os.utime(name, ns=(ns, ns), dir_fd=dir_fd, follow_symlinks=False)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', choices=['small', 'files'])
    parser.add_argument('--with', dest='extra', action='append', default=[],
                        choices=['huge', 'whiteouts', 'sockets', 'unreadable'])
    parser.add_argument('dir')
    args = parser.parse_args()
    os.umask(0o022)
    os.makedirs(args.dir, exist_ok=True)
    os.chdir(args.dir)
    chosen = parts(args)
    random.Random(args.seed).shuffle(chosen)
    for make in chosen:
        make()
    root = os.open('.', os.O_RDONLY)
    settle_times(root)
    os.close(root)
    os.chmod('.', 0o751)
    os.utime('.', ns=(EPOCH_NS, EPOCH_NS))


if __name__ == '__main__':
    main()
