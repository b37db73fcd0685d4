#!/bin/bash
# Goal: what we write is read by everybody else: zstd, GNU tar, bsdtar, python, and it keeps to its
# own format as an independent implementation sees it.
. "$(dirname "$0")/../support/lib.sh"
need_root "devices, owners"

mktree --with huge --with whiteouts "$T/tree"
zl-pack "$T/tree" >"$T/layer"
zstd -tq "$T/layer"
# python's tarfile stops at no size, but reads 9 GiB of zeros; the format check leaves "huge" out
zl-pack --exclude huge "$T/tree" >"$T/small"
python3 "$support/layerfmt.py" check "$T/small"

say "all list the same names"
zstd -dcq "$T/layer" >"$T/tar"
tar -tf "$T/tar" --quoting-style=literal | sed 's|^\./||; s|/$||' | sort >"$T/gnu" || fail "GNU tar"
walker --names "$T/tree" | tr '\n' '?' | tr '\0' '\n' | grep -avE '^(wo/|\.$)' | sort >"$T/want"
tr '\n' '?' <"$T/gnu" >/dev/null # names with newlines: compared through python below
python3 - "$T/tar" >"$T/python" <<'PY'
import sys, tarfile
with tarfile.open(sys.argv[1], encoding='utf-8', errors='surrogateescape') as archive:
    for member in archive:
        name = member.name.removeprefix('./')
        sys.stdout.buffer.write(name.encode('utf-8', 'surrogateescape').replace(b'\n', b'?') + b'\n')
PY
grep -avE '^(wo(/|$)|\.?$)' "$T/python" | sort >"$T/python.sorted"
grep -avE '^wo$' "$T/want" >"$T/want.sorted"
cmp "$T/want.sorted" "$T/python.sorted"
[ "$(bsdtar -tf "$T/layer" 2>/dev/null | wc -l)" = "$(tar -tf "$T/tar" | wc -l)" ]

say "GNU tar restores everything that it knows how to"
mkdir "$T/gnutar"
tar -xf "$T/tar" -C "$T/gnutar" --xattrs --xattrs-include='*' --acls -p --numeric-owner \
    --exclude deep 2>"$T/tar.err" || fail "GNU tar: $(head -3 "$T/tar.err")"
# Its limits: 4 KiB paths, hardlinked fifos and devices, "=" in names of xattrs, the root's xattrs.
same_tree --ignore links --ignore-path deep --ignore-path wo --ignore-path 'wo/*' \
    --ignore-path xn --ignore alloc "$T/tree" "$T/gnutar"

say "whiteouts are those of OCI, before the names they could meet, once each"
tar -tf "$T/tar" | grep -F 'wo/' >"$T/wo"
for name in wo/.wh.gone1 wo/.wh.gone2 wo/xform/.wh.gone3 wo/opaque/.wh..wh..opq wo/opaque/new; do
    [ "$(grep -cxF -e "$name" -e "./$name" "$T/wo")" = 1 ] || fail "$name is not there once"
done
expect_no_grep 'pointless' "$T/wo"
expect_no_grep 'gone[0-9]$' <(grep -v '\.wh\.' "$T/wo")
