#!/bin/bash
# Goal: what else can be pushed: foreign archives, raw bytes, the output of a command.
. "$(dirname "$0")/../support/lib.sh"

mktree --only files "$T/tree"
zl-pack "$T/tree" >"$T/layer"

say "-- CMD"
[ "$(zl-push --name c -- zl-pack "$T/tree")" = "$(zl-push --name c <"$T/layer")" ]
expect_exit 65 zl-push --name c2 -- sh -c 'exit 5'
expect_grep '5' "$ERR"
code=0
zl-push --name c2 -- "$T/no-such-command" 2>"$ERR" || code=$?
[ $code != 0 ] && [ $code != 3 ] || fail "exit $code"
expect_grep 'no-such-command' "$ERR"
expect_exit 66 zl-pull c2
expect_exit 65 zl-push --name c2 -- sh -c "cat '$T/layer'; exit 3" # 3 needs a trailer that says so

say "a foreign archive: only when asked, only when whole"
tar -C "$T/tree" --format=pax -c . >"$T/tar"
zstd -q <"$T/tar" >"$T/foreign"
expect_exit 65 zl-push --name f <"$T/foreign"
expect_grep '--foreign' "$ERR"
digest=$(zl-push --foreign --name f <"$T/foreign")
[ "$digest" = "sha256:$(sha256sum <"$T/tar" | cut -c1-64)" ]
zl-pull f | cmp - "$T/foreign"
zl-pull f | zl-unpack --foreign -C "$T/back"
same_tree --ignore alloc --ignore-path 't_neg*' "$T/tree" "$T/back"
expect_exit 65 zl-unpack -C "$T/back2" <"$T/foreign"
expect_exit 65 zl-push --foreign --name f <"$T/tar" # not compressed
expect_exit 65 zl-push --foreign --name f < <(echo hello | zstd -q) # not a tar
zl-push --foreign --name g -- sh -c "cat '$T/foreign'" >/dev/null
zl-push --foreign --name own <"$T/layer" >/dev/null # our own is not refused
zl-pull own | cmp - "$T/layer"

say "raw"
head -c 300000 /dev/urandom >"$T/raw"
expect_exit 64 zl-push --raw --name r <"$T/raw"
digest=$(zl-push --raw --name r -- cat "$T/raw")
[ "$digest" = "sha256:$(sha256sum <"$T/raw" | cut -c1-64)" ]
[ -s "$T/store/layers/raw/${digest#sha256:}" ]
zl-pull r | cmp - "$T/raw"
zl-push --raw --accept-eof --name r2 <"$T/layer" >/dev/null
zl-pull r2 | cmp - "$T/layer"
grep -rq '"raw"' "$T/store/layers" --include='*.json'
printf x | dd of="$T/store/layers/raw/${digest#sha256:}" bs=1 seek=5000 conv=notrunc status=none
expect_exit 65 zl-pull --retry-for 1s r

say "two at once: the same layer, the same name"
for i in 1 2 3 4; do
    zl-push --name both <"$T/layer" >"$T/d$i" &
    pids[i]=$!
done
for i in 1 2 3 4; do wait "${pids[i]}"; done
cmp "$T/d1" "$T/d4"
zl-pull both | cmp - "$T/layer"

say "nothing waits, nothing is left in the spool"
expect_exit 0 zl-push --resume --list
expect_empty "$OUT"
[ -z "$(find "$ZL_STATE_DIR" -size +200k)" ] || fail "$(find "$ZL_STATE_DIR" -ls)"
