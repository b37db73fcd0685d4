#!/bin/bash
# Goal: files that change or vanish while they are read give a valid layer all the same, exit 3 and
# their names; --changed=fail gives none, --changed=ok exit 0.
. "$(dirname "$0")/../support/lib.sh"

cat >"$T/race.py" <<'PY'
"""Packs TREE slowly: after the first bytes came out, does CHANGE, then lets it go on."""
import os, subprocess, sys
tree, out, change, options = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
p = subprocess.Popen(['zl-pack', '--threads', '1', *options, tree], stdout=subprocess.PIPE)
with open(out, 'wb') as f:
    f.write(p.stdout.read(1 << 20))
    subprocess.check_call(['bash', '-c', change], cwd=tree)
    while block := p.stdout.read(1 << 20):
        f.write(block)
sys.exit(p.wait())
PY
fresh() {
    rm -rf "$T/tree" "$T/back" "$T/layer"
    mkdir -p "$T/tree/z"
    head -c 250M /dev/urandom >"$T/tree/big" # more than any buffer between reading and writing
    echo small >"$T/tree/z/small"
}
race() { # EXIT CHANGE [OPTIONS]
    local want=$1 change=$2
    shift 2
    fresh
    expect_exit "$want" python3 "$T/race.py" "$T/tree" "$T/layer" "$change" "$@"
}
valid() {
    zstd -dcq "$T/layer" | tar -t >/dev/null
    code=0
    zl-unpack -C "$T/back" <"$T/layer" || code=$?
    [ $code = 0 ] || [ $code = 3 ] || fail "unpack: exit $code"
    [ "$(cat "$T/back/z/small")" = small ]
}

say "truncated"
race 3 'truncate -s 100M big'
expect_grep 'big' "$ERR"
valid
cmp -n 104857600 "$T/tree/big" "$T/back/big"

say "grown"
race 3 'head -c 1M /dev/urandom >>big'
expect_grep 'big' "$ERR"
valid
[ "$(stat -c %s "$T/back/big")" -ge $((250 << 20)) ]

say "rewritten in place"
race 3 'dd if=/dev/zero of=big bs=1M seek=10 count=1 conv=notrunc status=none;
        dd if=/dev/zero of=big bs=1M seek=240 count=1 conv=notrunc status=none'
expect_grep 'big' "$ERR"
valid

say "vanished"
fresh
(cd "$T/tree/z" && seq -f vanishing%g 30000 | xargs touch) # more than is read ahead
code=0
python3 "$T/race.py" "$T/tree" "$T/layer" 'find z -name "vanishing*" -delete' -v 2>"$ERR" || code=$?
[ $code = 0 ] || [ $code = 3 ] || fail "exit $code: $(head "$ERR")"
expect_grep 'vanishing.*vanished' "$ERR"
valid

say "ok and fail"
race 0 'truncate -s 100M big' --changed ok
valid
fresh
code=0
python3 "$T/race.py" "$T/tree" "$T/layer" 'truncate -s 100M big' --changed fail 2>"$ERR" || code=$?
[ $code != 0 ] && [ $code != 3 ] || fail "exit $code"
expect_grep 'big' "$ERR"
expect_exit 65 zl-unpack -C "$T/back" <"$T/layer"

say "exit 3 travels: the pushed layer is there and marked incomplete"
race 3 'truncate -s 100M big'
expect_exit 3 zl-push --name changed <"$T/layer"
jq -e '.incomplete == true' "$T"/store/layers/*.meta.json >/dev/null
expect_exit 3 zl-pull changed
cmp "$OUT" "$T/layer"

say "under constant change no layer is ever invalid"
rm -rf "$T/tree"
mkdir "$T/tree"
for i in $(seq 40); do head -c 300k /dev/urandom >"$T/tree/f$i"; done
(while :; do
    n=$((RANDOM % 40 + 1))
    case $((RANDOM % 4)) in
    0) truncate -s $((RANDOM * 10)) "$T/tree/f$n" ;;
    1) head -c 50k /dev/urandom >>"$T/tree/f$n" ;;
    2) rm -f "$T/tree/f$n" ;;
    3) mv "$T/tree/f$n" "$T/tree/g$n" 2>/dev/null ;;
    esac
done) 2>/dev/null &
test_pids+=($!)
for _ in $(seq 12); do
    code=0
    zl-pack "$T/tree" >"$T/layer" 2>"$ERR" || code=$?
    [ $code = 0 ] || [ $code = 3 ] || fail "exit $code: $(cat "$ERR")"
    zstd -dcq "$T/layer" | bsdtar -tf - >/dev/null
    python3 "$support/layerfmt.py" check "$T/layer"
done
