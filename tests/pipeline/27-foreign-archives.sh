#!/bin/bash
# Goal: archives that others wrote are unpacked as they mean it.
. "$(dirname "$0")/../support/lib.sh"
need_root "devices, owners"

mktree "$T/tree"
unpacks() { # WHAT IGNORE... : stdin is a tar
    local what=$1
    shift
    zstd -q -T1 >"$T/in.zst"
    rm -rf "$T/back"
    zl-unpack --foreign -C "$T/back" <"$T/in.zst" 2>"$ERR" || fail "$what: exit $?: $(cat "$ERR")"
    same_tree --ignore alloc --ignore-path "t_neg*" "$@" "$T/tree" "$T/back"
}
say "GNU tar, pax with everything"
tar -C "$T/tree" --format=pax --xattrs --xattrs-include='*' --acls -S -c . |
    unpacks gnu-pax --ignore links --ignore-path xn
say "GNU tar's own format: long names, base-256, old sparse"
tar -C "$T/tree" --format=gnu -S -c --exclude './t_*' . 2>/dev/null |
    unpacks gnu --ignore links,xattr,mtime --ignore-path 't_*'
say "ustar"
mktree --only small "$T/stree"
tar -C "$T/stree" --format=ustar -c . | zstd -q | zl-unpack --foreign -C "$T/sback"
same_tree --ignore mtime,xattr "$T/stree" "$T/sback"
say "bsdtar, pax"
(cd "$T/tree" && LC_ALL=C bsdtar --format=pax -cf - --exclude ./deep --exclude './xn*' \
    --exclude './acl*' . 2>/dev/null) | unpacks bsdtar --ignore links --ignore-path deep \
    --ignore-path 'deep/*' --ignore-path xn --ignore-path 'acl*' --ignore-path 'huge'
say "python"
python3 - "$T/tree" <<'PY' | unpacks python --ignore xattr,mtime,links --ignore-path deep --ignore-path 'deep/*'
import os, sys, tarfile
os.chdir(sys.argv[1])
with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.PAX_FORMAT,
                  encoding='utf-8', errors='surrogateescape') as archive:
    archive.add('.', filter=lambda m: None if m.name.startswith(('deep', './deep')) else m)
PY
say "several frames, padding after the end, no checksums"
{ tar -C "$T/stree" -c . | zstd -q --no-check; head -c 20480 /dev/zero | zstd -q; } >"$T/in.zst"
zl-unpack --foreign -C "$T/sback2" <"$T/in.zst"
same_tree --ignore mtime,xattr "$T/stree" "$T/sback2"

say "a directory whiteout followed by the directory: what other layer tools write for \"replaced\""
mkdir -p "$T/w/d"
touch "$T/w/.wh.d" "$T/w/d/new"
(cd "$T/w" && tar -c .wh.d d) | zstd -q | zl-unpack --foreign -C "$T/wback"
[ -e "$T/wback/d/new" ]
[ "$(getfattr -n trusted.overlay.opaque --only-values "$T/wback/d")" = y ] ||
    fail "the old content of d would come back"
