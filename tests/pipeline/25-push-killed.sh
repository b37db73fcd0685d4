#!/bin/bash
# Goal: killed at any of its states, a push is finished by the next run of the same pipeline, or by
# --resume without input; the layer is stored once and named once.
. "$(dirname "$0")/../support/lib.sh"

points=(push.spooling push.spooled push.creating push.created push.part push.completing
    push.completed push.stored push.described push.named)
for point in "${points[@]}"; do
    grep -qF "$point" "$support/../../lib/README.md" || fail "lib/README.md does not know $point"
done
mapfile -t known < <(grep -oE '\bpush\.[a-z_-]+' "$support/../../lib/README.md" | sort -u || true)
mktree --only files "$T/tree"
zl-pack "$T/tree" >"$T/layer"
clean() {
    [ "$(stored_layers)" = 1 ] || fail "$1: $(store_list)"
    zl-pull web1 | cmp - "$T/layer"
    expect_exit 0 zl-push --resume --list
    expect_empty "$OUT"
    [ -z "$(find "$ZL_STATE_DIR" -size +200k)" ] || fail "$1: spool left: $(find "$ZL_STATE_DIR")"
    [ -z "$(find "$T/store" -name '*tmp*' -o -name '.*' -type f)" ] ||
        fail "$1: left in the store: $(find "$T/store")"
}
for way in single multipart; do
    options=(--part-size 64MiB)
    [ $way = single ] || options=(--part-size 5MiB)
    met=0
    for point in "${known[@]}"; do
        for finish in again resume; do
            rm -rf "$T/store" "$ZL_STATE_DIR"
            mkdir "$ZL_STATE_DIR"
            code=0
            ZL_CRASH_AT=$point zl-push --name web1 "${options[@]}" <"$T/layer" >"$OUT" 2>"$ERR" ||
                code=$?
            if [ $code = 0 ]; then # not on this way
                [ $way = single ] || fail "$point was not met"
                continue
            fi
            [ $code = 137 ] || fail "$point: exit $code: $(cat "$ERR")"
            expect_empty "$OUT"
            met=$((met + 1))
            if [ $finish = again ] || [ "$point" = push.spooling ]; then
                zl-push --name web1 "${options[@]}" <"$T/layer" >/dev/null
            else
                zl-push --resume --list >"$OUT"
                expect_grep 'web1' "$OUT"
                expect_exit 0 zl-push --resume
            fi
            clean "$way $point $finish"
        done
    done
    [ $met -ge 12 ] || fail "$way: only $met crashes"
done

say "a resumed push enters as history: what was pushed meanwhile stays newest"
rm -rf "$T/store" "$ZL_STATE_DIR"
ZL_CRASH_AT=push.spooled zl-push --name web1 <"$T/layer" 2>/dev/null >&2 || true
mktree --only small "$T/small"
zl-pack "$T/small" >"$T/layer2"
ZL_STATE_DIR=$T/other-host zl-push --name web1 <"$T/layer2" >/dev/null
zl-push --resume
zl-pull web1 | cmp - "$T/layer2"
[ "$(stored_layers)$(stored_refs)" = 22 ]

say "a state directory that was cut at any length is noticed, never trusted"
rm -rf "$T/store" "$ZL_STATE_DIR"
ZL_CRASH_AT=push.spooled zl-push --name web1 <"$T/layer" 2>/dev/null >&2 || true
spool=$(find "$ZL_STATE_DIR" -size +1M)
[ -n "$spool" ] || fail "no spool: $(find "$ZL_STATE_DIR")"
truncate -s -1000 "$spool"
code=0
zl-push --resume 2>"$ERR" >"$OUT" || code=$?
[ $code != 0 ] || fail "a cut spool was pushed"
[ "$(stored_layers)$(stored_refs)" = 00 ]
zl-push --name web1 <"$T/layer" >/dev/null || true
zl-pull web1 | cmp - "$T/layer"
