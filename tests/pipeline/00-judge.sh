#!/bin/bash
# Goal: the judge of all other tests sees each kind of difference, so that its silence means something.
. "$(dirname "$0")/../support/lib.sh"
need_root "devices, owners"

mktree --with whiteouts --with sockets "$T/a"
mktree --with whiteouts --with sockets --seed 9 "$T/b"
same_tree "$T/a" "$T/b"

say "every change of one thing is seen and named"
cd "$T/b"
seen() { # WHAT CHANGE UNDO: the report must name WHAT
    eval "$2"
    differ_tree "$T/a" "$T/b"
    expect_grep "$1" "$T/walker.out"
    eval "$3"
    same_tree --ignore mtime "$T/a" "$T/b"
    cd "$T"
    rm -rf "$T/b"
    mktree --with whiteouts --with sockets "$T/b"
    cd "$T/b"
}
seen 'text.*mode' 'chmod 600 text' 'chmod 644 text'
seen 'text.*mtime' 'touch -d @1700000000.123456788 text' :
seen '\. .*mtime' 'touch -d @5 .' :
seen 'sl .*mtime' 'touch -h -d @5 sl' :
seen 'text.*owner' 'chown 1 text' 'chown 0 text'
seen 'sl .*owner' 'chown -h 1 sl' 'chown -h 0 sl'
seen 'text.*content' 'sed -i "1s/h/H/" text' 'sed -i "1s/H/h/" text'
seen 'text.*size' 'printf x >>text' 'truncate -s -1 text'
seen 'sl .*target' 'ln -sfn other sl' 'rm sl; ln -s text sl; rm sl_hl; ln -P sl sl_hl'
seen 'chr_big.*rdev' 'rm chr_big; mknod -m 644 chr_big c 1 3' 'rm chr_big; mknod -m 644 chr_big c 4095 1048575'
seen 'x .*xattr:user.empty' 'setfattr -x user.empty x' 'setfattr -n user.empty x'
seen 'xsl .*xattr:trusted.sl' 'setfattr -h -n trusted.sl -v new xsl' 'setfattr -h -n trusted.sl -v 0x3300 xsl'
seen 'acl .*xattr' 'setfacl -m u:1234:r acl' 'setfacl -m u:1234:rw acl'
seen 'cap2.*capability' 'setcap cap_chown=ep cap2' 'setcap cap_net_raw=ep cap2'
seen 'links' 'cp -p hl_b tmp; mv tmp hl_b' 'ln -f hl_a hl_b'
seen 'missing +fifo' 'mv fifo ../f' 'mv ../f fifo'
seen 'extra +new' 'touch new' 'rm new'
seen 'fifo.*type' 'rm fifo; touch fifo; chmod 640 fifo' 'rm fifo; ln fifo_hl fifo'
seen 'sp_full.*allocated' 'rm sp_full; fallocate -l 67108864 sp_full; dd if=/dev/zero of=sp_full bs=1M count=64 conv=notrunc status=none' 'fallocate -d sp_full'
seen 'wo/gone1' 'rm wo/gone1' 'ln wo/gone2 wo/gone1'

say "what is asked to be ignored is ignored, and nothing else"
rm socket
differ_tree "$T/a" "$T/b"
differ_tree --ignore-sockets --ignore mode "$T/a" "$T/b" # the root's mtime
same_tree --ignore-sockets --ignore mtime "$T/a" "$T/b"
