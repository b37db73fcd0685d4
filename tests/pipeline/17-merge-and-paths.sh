#!/bin/bash
# Goal: what --merge changes and what it leaves alone; PATH operands; where unpack refuses to write.
. "$(dirname "$0")/../support/lib.sh"

mktree --only small "$T/tree"
zl-pack "$T/tree" >"$T/layer"

say "a directory that holds something needs --merge; empty and lost+found do not"
mkdir -p "$T/has" "$T/empty" "$T/lf/lost+found"
touch "$T/has/x"
expect_exit 73 zl-unpack -C "$T/has" <"$T/layer"
expect_grep '--merge' "$ERR"
[ "$(ls -A "$T/has")" = x ]
zl-unpack -C "$T/empty" <"$T/layer"
same_tree "$T/tree" "$T/empty"
zl-unpack -C "$T/lf" <"$T/layer"
same_tree --ignore-path lost+found "$T/tree" "$T/lf"
[ -d "$T/lf/lost+found" ]

say "--merge: a directory with content is not thrown away for a file: refused, nothing changed"
m=$T/refuse
mkdir -p "$m/noise/was/a/directory"
echo old >"$m/file"
cp -a "$m" "$m.before"
expect_exit 73 zl-unpack --merge -C "$m" <"$T/layer"
expect_grep 'noise' "$ERR"
same_tree --ignore mtime "$m.before" "$m"

say "--merge: theirs replace ours, the rest stays, also where types differ"
m=$T/merge
mkdir -p "$m/d/kept" "$m/noise" "$m/unrelated"
echo old >"$m/file"
echo mine >"$m/d/mine"
ln -s /etc/passwd "$m/d/inner" # must be replaced, not followed
cp /etc/passwd "$T/passwd"
zl-unpack --merge -C "$m" <"$T/layer"
cmp /etc/passwd "$T/passwd"
cmp "$m/file" "$T/tree/file"
cmp "$m/noise" "$T/tree/noise"
[ ! -L "$m/d/inner" ]
[ "$m/d/inner" -ef "$m/d/inner_hl" ]
[ "$(cat "$m/d/mine")" = mine ]
[ -d "$m/d/kept" ]
[ -d "$m/unrelated" ]
same_tree --ignore-path d/mine --ignore-path d/kept --ignore-path unrelated "$T/tree" "$m"

say "--merge does not walk through a symlink that stands where the layer has a directory"
m=$T/trap
mkdir "$m" "$T/outside"
ln -s "$T/outside" "$m/d"
code=0
zl-unpack --merge -C "$m" <"$T/layer" 2>"$ERR" || code=$?
[ -z "$(ls -A "$T/outside")" ] || fail "written outside: $(ls -A "$T/outside")"
[ $code = 0 ] && { [ ! -L "$m/d" ] || fail "exit 0, but d is still the symlink"; }

say "--merge verifies all before its first change"
m=$T/cut
mkdir "$m"
echo old >"$m/file"
cp -a "$m" "$m.before"
size=$(stat -c %s "$T/layer")
for n in 100 $((size - 100)) $((size - 1)); do
    expect_exit 65 zl-unpack --merge -C "$m" < <(head -c "$n" "$T/layer")
    same_tree --ignore mtime "$m.before" "$m"
done

say "PATH operands"
zl-unpack -C "$T/p1" file <"$T/layer"
[ "$(cd "$T/p1" && find . -type f)" = ./file ]
cmp "$T/p1/file" "$T/tree/file"
zl-unpack -C "$T/p2" d <"$T/layer"
same_tree --ignore mtime,mode "$T/tree/d" "$T/p2/d"
zl-unpack -C "$T/p3" d/inner ./link <"$T/layer"
cmp "$T/p3/d/inner" "$T/tree/d/inner"
[ -L "$T/p3/link" ]
[ ! -e "$T/p3/file" ]
# The data of a hardlink stands under its first name, which has gone by when the second one comes.
expect_exit 64 zl-unpack -C "$T/p4" d/inner_hl <"$T/layer"
expect_grep "d/inner'? too" "$ERR"
[ ! -e "$T/p4" ]
expect_exit 66 zl-unpack -C "$T/p4" no/such <"$T/layer"
[ ! -e "$T/p4" ]
expect_exit 65 zl-unpack -C "$T/p4" file < <(head -c $((size - 1)) "$T/layer")
[ ! -e "$T/p4" ]

say "--max-size"
expect_exit 65 zl-unpack --max-size 1000 -C "$T/max" <"$T/layer"
[ ! -e "$T/max" ]
zl-unpack --max-size 1MiB -C "$T/max" <"$T/layer"
