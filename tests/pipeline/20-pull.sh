#!/bin/bash
# Goal: every form of REF; -o that continues; --path.
. "$(dirname "$0")/../support/lib.sh"

mktree --only files "$T/tree"
mktree --only small "$T/tree2"
zl-pack "$T/tree" >"$T/l1"
zl-pack "$T/tree2" >"$T/l2"
d1=$(zl-push --name web <"$T/l1")
sleep 0.01
between=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
sleep 0.01
d2=$(zl-push --name web <"$T/l2")
zl-push --name web/1 <"$T/l1" >/dev/null
d1=${d1#sha256:} d2=${d2#sha256:}

say "REF"
gives() { zl-pull "$1" | cmp - "$2" || fail "REF $1"; }
gives web "$T/l2"
gives web/1 "$T/l1"
gives latest "$T/l1"
gives "$d1" "$T/l1"
gives "sha256:$d1" "$T/l1"
gives "${d1^^}" "$T/l1"
gives "${d1:0:8}" "$T/l1"
gives "${d2:0:20}" "$T/l2"
gives "web@$between" "$T/l1"
gives "web@2099-01-01T00:00:00Z" "$T/l2"
expect_exit 66 zl-pull web@2001-01-01T00:00:00Z
expect_exit 66 zl-pull we
expect_exit 64 zl-pull web/
expect_exit 64 zl-pull web@yesterday
zl-push --name other/x <"$T/l2" >/dev/null
gives web/1 "$T/l1"

say "-o: whole, then a second run replaces or keeps it; broken off, continued"
zl-pull -o "$T/o" web/1
cmp "$T/o" "$T/l1"
[ -z "$(find "$T" -maxdepth 1 -name '.o.*')" ]
rm "$T/o"
timeout --foreground -s KILL 0.03 zl-pull --bwlimit 20MiB --part-size 1MiB -o "$T/o" web/1 || true
[ ! -e "$T/o" ] || cmp "$T/o" "$T/l1"
zl-pull -o "$T/o" web/1
cmp "$T/o" "$T/l1"

if command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null; then
    say "-o of two at once, where one has the file open before the other gives it its name"
    rm "$T/o"
    strace -f -qq -o /dev/null -e trace=flock -e inject=flock:delay_enter=700000 \
        zl-pull -o "$T/o" web/1 &
    second=$!
    within 10 test -e "$T/.o.zl-part"
    zl-pull -o "$T/o" web/1
    wait $second
    cmp "$T/o" "$T/l1"
    [ "$(stat -c %a "$T/o")" = 644 ]
fi

say "another layer whose end claims the digest: not for who asks for that digest"
PYTHONPATH=$support python3 - "$d1" "$T/l2" >"$T/forged" <<'PY'
import layerfmt, sys
_, toc, _, tar, _ = layerfmt.parse(open(sys.argv[2], 'rb').read())
sys.stdout.buffer.write(layerfmt.make(tar, toc, digest=sys.argv[1]))
PY
cp "$T/store/layers/$d1.tar.zst" "$T/saved"
cp "$T/forged" "$T/store/layers/$d1.tar.zst"
for ref in "sha256:$d1" "${d1:0:12}"; do
    expect_exit 65 zl-pull "$ref"
    ! zstd -dcq <"$OUT" 2>/dev/null | tar -t >/dev/null 2>&1 || fail "looks whole"
    expect_exit 65 zl-pull -o "$T/o2" "$ref"
    [ ! -e "$T/o2" ]
done
expect_exit 65 zl-push --foreign <"$T/forged"
cp "$T/saved" "$T/store/layers/$d1.tar.zst"
[ "$(zl-push --foreign <"$T/l1")" = "sha256:$d1" ]

say "a tail too long for memory, and no room for it: never cut short with 0"
PYTHONPATH=$support python3 -c 'import layerfmt, os, sys
sys.stdout.buffer.write(layerfmt.make(os.urandom(20000000), frame_size=32 << 20))' >"$T/big"
zl-push --name big <"$T/big" >/dev/null
gives big "$T/big"
expect_exit 74 bash -c 'trap "" XFSZ; ulimit -f $(($(stat -c %s "$1") / 4096 * 4))
    zl-pull big | cat; exit "${PIPESTATUS[0]}"' - "$T/big" # all of it but the last page
expect_empty "$OUT"

say "--path: a small valid layer stream of just that"
zl-pull --path sub web/1 >"$T/p"
zstd -dcq "$T/p" | tar -t >"$T/names"
expect_grep 'sub/hl_c' "$T/names"
expect_no_grep 'noise|text' "$T/names"
python3 "$support/layerfmt.py" check "$T/p"
zl-unpack -C "$T/path" <"$T/p"
[ "$(cat "$T/path/sub/hl_c")" = link ] # its data lies under another name in the layer
zl-pull --path sp_odd --path dir/file07 web/1 | zl-unpack -C "$T/path2"
cmp "$T/path2/sp_odd" "$T/tree/sp_odd"
cmp "$T/path2/dir/file07" "$T/tree/dir/file07"
expect_exit 66 zl-pull --path no/such web/1
expect_empty "$OUT"
