#!/bin/bash
# Goal: several pushes of the same layer and the same name at once, from one host and from several, do
# no harm; conditional creation is probed once, not guessed.
. "$(dirname "$0")/../support/lib.sh"
use_s3

mkdir "$T/tree"
head -c 12000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
for i in 1 2 3 4 5 6; do
    state=$ZL_STATE_DIR
    [ $i -le 3 ] || state=$T/host$i # three on one host, three elsewhere
    ZL_STATE_DIR=$state zl-push --name web1 --part-size 5MiB <"$T/layer" >"$T/d$i" 2>"$T/e$i" &
    pids[i]=$!
done
for i in 1 2 3 4 5 6; do wait "${pids[i]}" || fail "push $i: exit $?: $(cat "$T/e$i")"; done
for i in 2 3 4 5 6; do cmp "$T/d1" "$T/d$i"; done
zl-pull web1 | cmp - "$T/layer"
[ "$(stored_layers)" = 1 ]
[ -z "$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root/")" ] || fail "uploads left"
expect_exit 0 zl-push --resume --list
expect_empty "$OUT"
