#!/bin/bash
# Goal: killed at any of its points, zl-prune leaves a store in which every ref pulls, and a second run
# brings it to the same end.
. "$(dirname "$0")/../support/lib.sh"
. "$support/prune.sh"
export ZL_TEST_GRACE=0s

make_store() { # web1: 1, 2 and 3 to lose their name; 4 (layer) and raw marked and due; 5 stays
    rm -rf "$T/store"
    for n in 1 2 3 5; do push_at web1 "2026110${n}T000000.000Z" $n; done
    digest_of[4]=$(zl-push <"$(small_layer 4)" | sed 's/sha256://')
    raw=$(head -c 3000 "$T/layers/1" | zl-push --raw --accept-eof | sed 's/sha256://')
    zl-prune --keep-last 9 --apply --all >"$OUT"
    mark_there "${digest_of[4]}" && [ -e "$T/store/layers/raw/$raw.doomed" ] || fail "not marked"
}
mkdir "$T/kept"
make_store
cp -a "$T/store" "$T/kept/store"
finish() { # until there is nothing left to do
    for _ in 1 2; do zl-prune --keep-last 1 --apply web1 >"$OUT"; done
    # A notice that was left ends by itself.
    sleep 0.1
    ZL_TEST_NOTICE_LIFE=50ms zl-prune --keep-last 1 --apply web1 >"$OUT"
    expect_grep '^removed 0 objects' "$OUT"
}
finish
store_list '' >"$T/end"
[ "$(stored_layers)$(stored_refs)" = 11 ] || fail "$(cat "$T/end")"
! grep -E 'raw|doomed' "$T/end" || fail "left over"

for point in marked marked:2 marked:3 ref ref:2 ref:3 noticed listed layer-next layer layer:2 meta \
    meta:2 unmarked unmarked:2; do
    rm -rf "$T/store"
    cp -a "$T/kept/store" "$T/store"
    code=0
    { ZL_CRASH_AT=prune.$point zl-prune --keep-last 1 --apply web1 >"$OUT"; } 2>"$ERR" || code=$?
    [ $code = 137 ] || fail "$point: exit $code: $(cat "$ERR")"
    every_ref_pulls
    expect_exit 0 zl-ls --check
    [ "$(refs_of web1 | grep -o 20261105T000000.000Z)" ] || fail "$point: the newest is gone"
    finish
    store_list '' | diff "$T/end" - || fail "$point: another end"
done
every_ref_pulls
