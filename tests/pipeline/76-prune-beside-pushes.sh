#!/bin/bash
# Goal: a push and a prune of the same layer, stopped at each critical point of either, and many of
# both at once: every ref pulls right afterwards.
. "$(dirname "$0")/../support/lib.sh"
. "$support/prune.sh"
export ZL_TEST_GRACE=0s ZL_TEST_NOTICE_LIFE=20s

stopped() { grep -q '^State:.T' "/proc/$1/status"; }
ended() { ! kill -0 "$1" 2>/dev/null; }
# marked_store KIND: layer 1 of web1 has lost its name and is marked; what is left to do is to delete it
marked_store() {
    rm -rf "$T/store"
    kind=$1
    if [ "$kind" = raw ]; then
        push=(zl-push --raw --accept-eof)
        digest=$(sha256sum <"$(small_layer 1)" | cut -c1-64)
        object=$T/store/layers/raw/$digest
    else
        push=(zl-push)
        digest=$(zl-push <"$(small_layer 1)" | sed 's/sha256://')
        object=$T/store/layers/$digest.tar.zst
    fi
    "${push[@]}" --name web1 <"$(small_layer 1)" >/dev/null
    zl-push --name web1 <"$(small_layer 2)" >/dev/null
    zl-prune --keep-last 1 --apply web1 >/dev/null
    [ -e "${object%.tar.zst}.doomed" ] || fail "not marked"
}
start_push() { # POINT or empty: a push of layer 1 as web2, in the background
    rm -f "$T/push.err"
    ZL_PAUSE_AT=$1 "${push[@]}" -v --name web2 <"$T/layers/1" >"$T/push.out" 2>"$T/push.err" &
    push_pid=$!
    test_pids+=($push_pid)
}
start_prune() {
    rm -f "$T/prune.err"
    ZL_PAUSE_AT=$1 zl-prune -v --keep-last 1 --apply web1 >"$T/prune.out" 2>"$T/prune.err" &
    prune_pid=$!
    test_pids+=($prune_pid)
    within 10 stopped $prune_pid
}
push_waits_for_prune() { # which is paused: a push meets its notice, then both go on
    start_push ''
    within 10 grep -qs 'waiting for its end' "$T/push.err"
    kill -CONT $prune_pid
    wait_all $prune_pid $push_pid
}
pulls() { # what web2 names is what was pushed
    zl-pull web2 | cmp - "$T/layers/1" || fail "$1: web2 does not pull"
    zl-pull web1 | cmp - "$T/layers/2" || fail "$1: web1 does not pull"
}
for kind in layer raw; do
    say "$kind: prune has listed the refs before ours: the push waits, and stores it again"
    marked_store $kind
    start_prune prune.listed
    push_waits_for_prune
    expect_grep 'deleted the layer meanwhile' "$T/push.err"
    pulls listed

    say "$kind: the same when the push's host takes the notice for an old one, its clock being ahead"
    marked_store $kind
    start_prune prune.listed
    touch -d '25 hours ago' "$T"/store/layers/prune/*
    push_waits_for_prune
    expect_grep 'deleted the layer meanwhile' "$T/push.err"
    pulls "another clock"

    say "$kind: prune is about to send a delete: the same"
    marked_store $kind
    start_prune prune.layer-next
    push_waits_for_prune
    pulls layer-next

    say "$kind: prune lists the refs after ours: it spares the layer"
    marked_store $kind
    start_prune prune.noticed
    push_waits_for_prune
    expect_grep 'is named again: kept' "$T/prune.err"
    expect_no_grep 'deleted the layer' "$T/push.err"
    pulls noticed

    say "$kind: the push sleeps at each of its states while all is deleted"
    for point in stored described named; do
        marked_store $kind
        start_push push.$point
        within 10 stopped $push_pid
        zl-prune --keep-last 1 --apply web1 >"$T/prune.out"
        case $point in
        named) [ -e "$object" ] || fail "a named layer was deleted" ;;
        *) [ ! -e "$object" ] || fail "$point: nothing was deleted" ;;
        esac
        kill -CONT $push_pid
        wait $push_pid
        pulls $point
    done
done

say "a prune that slept longer than its notice lives lists the refs anew"
marked_store layer
export ZL_TEST_NOTICE_LIFE=2s
start_prune prune.listed
start_push ''
within 10 ended $push_pid
wait $push_pid
expect_grep 'waiting for its end' "$T/push.err"
kill -CONT $prune_pid
wait $prune_pid
expect_grep 'looked at again' "$T/prune.err"
expect_grep 'is named again: kept' "$T/prune.err"
pulls slept

say "a prune that died: its notice ends by itself, and the next prune removes it"
marked_store layer
{ ZL_CRASH_AT=prune.listed zl-prune --keep-last 1 --apply web1 >"$OUT"; } 2>"$ERR" || true
store_list layers/prune/ | grep -q doomed || fail "no notice"
start_push ''
wait $push_pid
expect_no_grep 'deleted the layer' "$T/push.err"
pulls died
zl-prune --keep-last 1 --apply web1 >"$OUT"
[ -z "$(store_list layers/prune/)" ] || fail "the notice is left"

say "a notice from the future that cannot be read holds a push up for a notice's life, no longer"
mkdir -p "$T/store/layers/prune"
echo torn >"$T/store/layers/prune/29991231T000000.000Z-0.doomed"
touch -d 2999-12-31 "$T/store/layers/prune/29991231T000000.000Z-0.doomed"
start_push ''
within 10 ended $push_pid
wait $push_pid
expect_grep 'waiting for its end, at most 2.0s' "$T/push.err"
rm -r "$T/store/layers/prune"
pulls future

say "a push without a name of a marked layer makes it young again"
unset ZL_TEST_GRACE
marked_store layer
touch -d '25 hours ago' "$T/store/layers/$digest."*
zl-push <"$T/layers/1" >"$OUT"
zl-prune --keep-last 1 --apply web1 >"$OUT"
layer_there "$digest"

say "20 pushes and pulls beside prunes in a loop"
export ZL_TEST_GRACE=1s
rm -rf "$T/store"
for n in 1 2 3 4; do small_layer $n >/dev/null; done
worker() { # N: its own state, so as another host
    export ZL_STATE_DIR=$T/host$1
    local try code n
    while [ $SECONDS -lt $((begun + 8)) ]; do
        n=$(((SECONDS - begun) / 2 % 4 + 1)) # so that each is without a name for a while
        zl-push --name "w$(($1 % 3))" <"$T/layers/$n" >/dev/null || echo "push $1" >>"$T/bad"
        # 75: another push stored the same layer at the same moment, and its file is a new one.
        for try in 1 2 3; do
            code=0
            zl-pull "w$(($1 % 3))" >"$T/host$1.layer" 2>"$T/host$1.err" || code=$?
            [ $code = 75 ] || break
        done
        [ $code = 0 ] && zstd -tq "$T/host$1.layer" || { echo "pull $1: $code" && cat "$T/host$1.err"; } >>"$T/bad"
    done
}
begun=$SECONDS
workers=()
: >"$T/bad"
for i in $(seq 1 20); do
    worker "$i" &
    workers+=($!)
done
(while [ ! -e "$T/stop" ]; do
    zl-prune --keep-last 1 --apply --all >>"$T/prunes.out" 2>>"$T/prunes" || echo "exit $?" >>"$T/prunes"
done) &
pruner1=$!
(while [ ! -e "$T/stop" ]; do
    zl-prune --keep-last 2 --apply w0 w1 >/dev/null 2>>"$T/prunes2" || true
done) &
pruner2=$!
wait_all "${workers[@]}"
touch "$T/stop"
wait_all $pruner1 $pruner2
expect_empty "$T/bad"
expect_empty "$T/prunes"
expect_grep '^remove +layer' "$T/prunes.out" # something was tested
every_ref_pulls
[ "$(store_list layers/prune/ | wc -l)" = 0 ]
[ -z "$(find "$T"/host*/spool -type f)" ] || fail "spools are left"
