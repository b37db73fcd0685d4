#!/bin/bash
# Goal: the end of a pipe is not success. A stream that ends early, wherever it is cut, is never
# stored and never unpacked, and the reader says 65.
. "$(dirname "$0")/../support/lib.sh"

mktree --only files "$T/tree"
zl-pack "$T/tree" >"$T/layer"
size=$(stat -c %s "$T/layer")
python3 "$support/layerfmt.py" frames "$T/layer" >"$T/frames"
[ "$(wc -l <"$T/frames")" -ge 6 ] || fail "the tree is too small to have frames: $(cat "$T/frames")"

# Each frame boundary, one byte around it, the ends, and a few places between.
{
    awk '{print $1; print $1 - 1; print $1 + 1; print $1 + 8}' "$T/frames"
    echo 0 1 4 5 $((size - 1)) $((size - 9)) $((size / 3)) $((size / 2)) | tr ' ' '\n'
} | awk -v s="$size" '$1 >= 0 && $1 < s' | sort -nu >"$T/cuts"
say "$(wc -l <"$T/cuts") cuts"
while read -r n; do
    head -c "$n" "$T/layer" >"$T/cut"
    expect_exit 65 zl-unpack -C "$T/out" <"$T/cut"
    [ ! -e "$T/out" ] || fail "cut at $n: something was unpacked"
    expect_exit 65 zl-push --name cut <"$T/cut"
    expect_empty "$OUT"
done <"$T/cuts"
[ "$(stored_layers)$(stored_refs)" = 00 ] || fail "something was stored"
[ -z "$(find "$T" -maxdepth 1 -name '.*zl*' -o -maxdepth 1 -name 'out*' ! -name out)" ] ||
    fail "left over: $(ls -A "$T")"

say "a foreign stream must end on a frame's end and on two zero blocks"
zstd -dcq "$T/layer" >"$T/tar"
head -c $((1 << 20)) "$T/tar" | zstd -q >"$T/cut"
expect_exit 65 zl-push --foreign --name cut <"$T/cut"
expect_exit 65 zl-unpack --foreign -C "$T/out" <"$T/cut"
head -c 100000 "$T/layer" >"$T/cut"
expect_exit 65 zl-push --foreign --name cut <"$T/cut"
[ "$(stored_layers)$(stored_refs)" = 00 ] || fail "something was stored"
[ ! -e "$T/out" ]

say "a packer that is killed"
mkfifo "$T/pipe"
zl-push --name killed <"$T/pipe" >"$OUT" 2>"$ERR" &
push=$!
python3 -c "
import subprocess, sys
p = subprocess.Popen(['zl-pack', sys.argv[1]], stdout=subprocess.PIPE)
with open(sys.argv[2], 'wb') as pipe:
    pipe.write(p.stdout.read(3_000_000))
    p.kill()
    pipe.write(p.stdout.read())
" "$T/tree" "$T/pipe"
code=0
wait $push || code=$?
[ $code = 65 ] || fail "exit $code"
[ "$(stored_layers)$(stored_refs)" = 00 ] || fail "something was stored"

say "push -- CMD commits only if CMD ends well"
expect_exit 65 zl-push --name cmd -- bash -c "cat '$T/layer'; exit 1"
expect_exit 65 zl-push --name cmd -- bash -c "cat '$T/layer'; kill -KILL \$\$"
expect_exit 65 zl-push --name cmd --foreign -- bash -c "tar -c -C '$T/tree' dir | zstd; exit 2"
[ "$(stored_layers)$(stored_refs)" = 00 ] || fail "something was stored"
expect_exit 0 zl-push --name cmd -- cat "$T/layer"
[ "$(stored_layers)$(stored_refs)" = 11 ] || fail "not stored: $(store_list)"

say "push -- CMD that lives on without its stdout is ended by a signal all the same"
zl-push --name lives -- bash -c "cat '$T/layer'; exec >&-; : >'$T/closed'; exec sleep 30" 2>"$ERR" >"$OUT" &
pid=$!
test_pids+=("$pid")
within 10 [ -e "$T/closed" ]
kill -TERM $pid
begun=$SECONDS
code=0
wait $pid || code=$?
[ $code = 143 ] || fail "exit $code: $(cat "$ERR")"
[ $((SECONDS - begun)) -lt 5 ] || fail "it took $((SECONDS - begun)) s"
[ "$(stored_layers)$(stored_refs)" = 11 ] || fail "lives: $(store_list)"
