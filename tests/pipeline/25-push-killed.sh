#!/bin/bash
# Goal: killed at any of its states, a push is finished by the next run of the same pipeline, or by
# --resume without input; the layer is stored once. (The states of multipart uploads are killed in
# s3/02: a directory needs none.)
. "$(dirname "$0")/../support/lib.sh"

mktree --only files "$T/tree"
zl-pack "$T/tree" >"$T/layer"
clean() { # WHAT: all is stored, nothing of ours is left anywhere
    [ "$(stored_layers)" = 1 ] || fail "$1: $(store_list)"
    zl-pull web1 | cmp - "$T/layer"
    expect_exit 0 zl-push --resume --list
    expect_empty "$OUT"
    [ -z "$(find "$ZL_STATE_DIR" -size +200k)" ] || fail "$1: spool left: $(find "$ZL_STATE_DIR")"
    [ -z "$(find "$T/store" -name '*tmp*' -o -name '.*' -type f ! -name '*.zl-meta' ! -name .zl-store)" ] ||
        fail "$1: left in the store: $(find "$T/store")"
}
for point in spooling spooled completing completed stored described named done removed; do
    for finish in again resume; do
        rm -rf "$T/store" "$ZL_STATE_DIR"
        mkdir "$ZL_STATE_DIR"
        code=0
        # The braces take the shell's own word about the killed job.
        { ZL_CRASH_AT=push.$point zl-push --name web1 <"$T/layer" >"$OUT"; } 2>"$ERR" || code=$?
        [ $code = 137 ] || fail "$point: exit $code: $(cat "$ERR")"
        expect_empty "$OUT"
        if [ $finish = again ] || [ $point = spooling ]; then
            zl-push --name web1 <"$T/layer" >/dev/null
        else
            expect_exit 0 zl-push --resume --list
            case $point in
            done | removed) expect_empty "$OUT" ;;
            *) expect_grep 'web1' "$OUT" ;;
            esac
            expect_exit 0 zl-push --resume
            expect_empty "$ERR"
        fi
        clean "$point $finish"
    done
done

say "a resumed push enters as history: what was pushed meanwhile stays newest"
rm -rf "$T/store" "$ZL_STATE_DIR"
{ ZL_CRASH_AT=push.spooled zl-push --name web1 <"$T/layer" >"$OUT"; } 2>"$ERR" || true
mktree --only small "$T/small"
zl-pack "$T/small" >"$T/layer2"
ZL_STATE_DIR=$T/other-host zl-push --name web1 <"$T/layer2" >/dev/null
expect_exit 0 zl-push --resume
zl-pull web1 | cmp - "$T/layer2"
[ "$(stored_layers)$(stored_refs)" = 22 ]

say "a spool that no row knows, or a row without its spool: told of, never deleted, and had back"
saved() { # leaves $spool
    rm -rf "$T/store" "$ZL_STATE_DIR"
    { ZL_CRASH_AT=push.spooled zl-push --name web1 <"$T/layer" >"$OUT"; } 2>"$ERR" || true
    spool=$(find "$ZL_STATE_DIR" -name '*.spool')
    [ -n "$spool" ] || fail "no spool: $(find "$ZL_STATE_DIR")"
}
saved
other=(--state-db "$T/other.db" --spool-dir "$ZL_STATE_DIR/spool/")
for what in "--dry-run" "--resume --list" "--resume"; do
    # shellcheck disable=SC2086
    expect_exit 0 zl-push $what "${other[@]}"
    expect_grep "$spool belongs to no push.*zl-push < FILE" "$ERR"
done
expect_exit 0 zl-push --name web2 "${other[@]}" <"$T/layer2"
expect_exit 0 zl-push --resume
zl-pull web1 | cmp - "$T/layer"
saved
{ ZL_CRASH_AT=push.spooled zl-push --name web2 <"$T/layer2" >"$OUT"; } 2>"$ERR" || true
for file in push.db push.db-wal push.db-shm; do echo garbage >"$ZL_STATE_DIR/$file"; done
expect_exit 65 zl-push --resume
expect_grep '^hint: .*zl-push < FILE' "$ERR"
rm "$ZL_STATE_DIR"/push.db*
expect_exit 0 zl-push --name web1 <"$spool"
zl-pull web1 | cmp - "$T/layer"
[ "$(find "$ZL_STATE_DIR" -name '*.spool' | wc -l)" = 2 ] || fail "a spool is lost"
saved
mv "$ZL_STATE_DIR/spool" "$T/away"
expect_exit 74 zl-push --resume --spool-dir "$T/elsewhere"
expect_grep '^hint: .*zl-push --resume' "$ERR"
expect_exit 0 zl-push --resume --list --spool-dir "$T/elsewhere"
expect_grep '	lost	' "$OUT"
expect_exit 0 zl-push --name web2 --spool-dir "$T/elsewhere" <"$T/layer2"
expect_grep "its spool $spool is not there" "$ERR"
ln -s spool "$ZL_STATE_DIR/spool" # a directory that cannot be looked at: unknown is not lost
expect_exit 0 zl-push --resume --list --spool-dir "$T/elsewhere"
expect_no_grep '	lost	' "$OUT"
expect_exit 0 zl-push --name web2 --spool-dir "$T/elsewhere" <"$T/layer2"
rm "$ZL_STATE_DIR/spool"
mv "$T/away" "$ZL_STATE_DIR/spool"
expect_exit 0 zl-push --resume
zl-pull web1 | cmp - "$T/layer"

say "a spool that was cut is noticed, never stored"
rm -rf "$T/store" "$ZL_STATE_DIR"
{ ZL_CRASH_AT=push.spooled zl-push --name web1 <"$T/layer" >"$OUT"; } 2>"$ERR" || true
spool=$(find "$ZL_STATE_DIR" -size +1M)
[ -n "$spool" ] || fail "no spool: $(find "$ZL_STATE_DIR")"
truncate -s -1000 "$spool"
code=0
zl-push --resume 2>"$ERR" >"$OUT" || code=$?
[ $code != 0 ] || fail "a cut spool was pushed"
[ "$(stored_layers)$(stored_refs)" = 00 ]
zl-push --name web1 <"$T/layer" >"$OUT" 2>"$ERR" || true
zl-pull web1 | cmp - "$T/layer"

say "a state database that was cut: an error with a hint, or a fresh start, never a wrong store"
for n in 0 1 100 1000 5000; do
    rm -rf "$T/store" "$ZL_STATE_DIR"
    { ZL_CRASH_AT=push.spooled zl-push --name web1 <"$T/layer" >"$OUT"; } 2>"$ERR" || true
    db=$(find "$ZL_STATE_DIR" -name '*.db')
    truncate -s $n "$db"
    rm -f "$db-wal" "$db-shm"
    code=0
    zl-push --name web1 <"$T/layer" >"$OUT" 2>"$ERR" || code=$?
    case $code in
    0) zl-pull web1 | cmp - "$T/layer" ;;
    *)
        [ "$(stored_refs)" = 0 ]
        expect_grep '^hint: ' "$ERR"
        ;;
    esac
done
