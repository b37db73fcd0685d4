#!/bin/bash
# Goal: zl-prune says what would go and why, and changes nothing without --apply; with it, refs go by
# the rules and layers in two phases; the newest stays, nothing foreign is touched.
. "$(dirname "$0")/../support/lib.sh"
. "$support/prune.sh"

push_at web1 20261010T120000.000Z 1
push_at web1 20261101T120000.000Z 2
push_at web1 20261102T090000.000Z 3
push_at web1 20261102T120000.000Z 4
push_at web1/1 20261001T000000.000Z 1
push_at web1/1 20261001T010000.000Z 5
mkdir -p "$T/store/other" "$T/store/layersX"
for f in other/x layersX/y layers/README layers/refs/web1/notes.txt layers/refs/web1/.hidden; do
    echo foreign >"$T/store/$f"
done
store_picture >"$T/before"
unchanged() { store_picture | diff "$T/before" - || fail "$1: the store changed"; }

say "usage: no rule, nothing to do, rules of the wrong kind; each says what to do"
expect_exit 64 zl-prune
expect_grep 'nothing to do' "$ERR"
expect_exit 64 zl-prune --apply web1
expect_grep 'no rule says what to keep' "$ERR"
expect_grep '^hint: .*--keep-last' "$ERR"
expect_exit 64 zl-prune --apply --all
expect_exit 64 zl-prune --keep-last 1 --all web1
expect_exit 64 zl-prune --keep-last -1 web1
expect_exit 64 zl-prune --keep-last 1 db/app
expect_grep 'keep-within' "$ERR"
expect_exit 64 zl-prune --keep-last 1 --generation x web1
expect_exit 64 zl-prune --uploads-older 1h
expect_exit 66 zl-prune --keep-last 1 --apply web
expect_grep 'no layer named web' "$ERR"
unchanged usage

say "a dry run tells reasons and sums, and changes nothing"
expect_exit 0 zl-prune --keep-last 1 --keep-daily 2 --keep-monthly 2 web1
expect_empty "$ERR"
expect_grep '^keep +ref +web1 +2026-11-02T12:00:00.000Z .*newest, last, daily, monthly$' "$OUT"
expect_grep '^remove +ref +web1 +2026-11-02T09:00:00.000Z .*no rule keeps it$' "$OUT"
expect_grep '^keep +ref +web1 +2026-11-01T12:00:00.000Z .*daily$' "$OUT"
expect_grep '^keep +ref +web1 +2026-10-10T12:00:00.000Z .*monthly$' "$OUT"
expect_grep "^mark +layer +${digest_of[3]:0:12} .*loses its last name" "$OUT"
expect_grep '^would remove 1 object, 0 B; 2 objects, 2.*would wait .*--apply does it$' "$OUT"
expect_no_grep 'web1/1' "$OUT"
unchanged "dry run"
zl-prune --json --keep-last 1 web1 >"$OUT"
[ "$(jq -r 'select(.kind == "ref" and .action == "remove") | .time' "$OUT" | wc -l)" = 3 ]
jq -es 'last | .kind == "summary" and .applied == false and .objects == 3 and .later_objects == 4' \
    "$OUT" >/dev/null || fail "summary: $(tail -1 "$OUT")"
unchanged "dry run --json"

say "first phase: the refs go, layers that lose their last name are marked"
expect_exit 0 zl-prune --keep-last 1 --apply --metrics "$T/m" web1
expect_grep '^removed 3 objects' "$OUT"
expect_grep '^zl_pruned_objects\{.*\} 3$' "$T/m"
[ "$(refs_of web1)" = 20261102T120000.000Z ]
[ "$(refs_of web1/1)" = '20261001T000000.000Z 20261001T010000.000Z' ]
for n in 2 3; do mark_there "${digest_of[$n]}" || fail "$n is not marked"; done
for n in 1 4 5; do ! mark_there "${digest_of[$n]}" || fail "$n is marked"; done
[ "$(stored_layers)" = 5 ]
every_ref_pulls
expect_exit 0 zl-ls --check

say "a mark younger than a day deletes nothing, whatever the layer's age"
expect_exit 0 zl-prune --keep-last 1 --apply web1
expect_grep "^wait +layer +${digest_of[2]:0:12} .*stays until" "$OUT"
[ "$(stored_layers)" = 5 ]

say "a layer younger than a day stays, whatever the mark's age; both past it: it goes"
touch -d '25 hours ago' "$T/store/layers/${digest_of[2]}."* "$T/store/layers/${digest_of[3]}.doomed"
expect_exit 0 zl-prune --keep-last 1 --apply web1
! store_list "layers/${digest_of[2]}" | grep . || fail "left of a removed layer"
[ -z "$(find "$T/store/layers" -name ".${digest_of[2]}*")" ] || fail "hidden file left"
layer_there "${digest_of[3]}"
[ -z "$(store_list layers/prune/)" ] || fail "a notice is left"

say "a marked layer that is pushed again is kept, and the mark taken back"
touch -d '25 hours ago' "$T/store/layers/${digest_of[3]}."*
zl-push --name web3 <"$T/layers/3" >"$OUT"
expect_exit 0 zl-prune --keep-last 1 --apply web1
expect_grep "^unmark +layer +${digest_of[3]:0:12}" "$OUT"
! mark_there "${digest_of[3]}" || fail "the mark is left"
every_ref_pulls
expect_exit 0 zl-ls --check=full

say "the newest stays even with rules that keep nothing; --all also marks what has no name"
zl-push <"$(small_layer 6)" >"$OUT"
nameless=$(sed 's/sha256://' "$OUT")
expect_exit 0 zl-prune --keep-within 0s --apply --all
expect_grep "^wait +layer +${nameless:0:12} .*no name yet" "$OUT"
[ "$(stored_refs)" = 3 ]
touch -d '25 hours ago' "$T/store/layers/$nameless."*
expect_exit 0 zl-prune --keep-last 9 --apply web1
! mark_there "$nameless" || fail "a prune of web1 marked a layer that is none of its own"
expect_exit 0 zl-prune --keep-last 9 --apply --all
mark_there "$nameless"
every_ref_pulls

if [ "$(id -u)" = 0 ]; then
    say "refs that may not be looked at: nothing is taken for nobody's; the hint says whose they are"
    push_at web2 20261001T000000.000Z 10
    push_at web2 20261002T000000.000Z 11
    chmod 744 "$T/store/layers/refs/web2" # names can be listed, not looked at
    chown -R 1000 "$T/store"
    chown 0 "$T/store/layers/refs/web2"
    as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups -- "$@"; }
    expect_exit 77 as_user zl-prune --keep-last 1 --apply --all
    expect_grep 'refs/web2/2026100[12]T.*: permission denied' "$ERR"
    expect_grep '^hint: .*/refs/web2 belongs to user 0, .*mode 0744, and this is user 1000' "$ERR"
    ! mark_there "${digest_of[10]}" || fail "a layer that has a name was marked"
    chown 1000 "$T/store/layers/refs/web2"
    chmod 755 "$T/store/layers/refs/web2"
    chmod 555 "$T/store/layers" # no mark can be written
    expect_exit 77 as_user zl-prune --keep-last 1 --apply web2
    expect_grep '^hint: .*/layers belongs to user 1000, .*mode 0555' "$ERR"
    chmod 755 "$T/store/layers"
    chown -R 0 "$T/store"
    every_ref_pulls
fi

say "the last good one stays when the newest leads nowhere"
push_at bad 20261001T000000.000Z 7
push_at bad 20261002T000000.000Z 8
push_at bad 20261003T000000.000Z 9
rm "$T/store/layers/${digest_of[9]}.tar.zst"
expect_exit 0 zl-prune --keep-last 1 --apply bad
expect_grep '^keep +ref +bad +2026-10-02.*last good$' "$OUT"
[ "$(refs_of bad)" = '20261002T000000.000Z 20261003T000000.000Z' ]

say "and when the newest cannot be read"
push_at torn 20261001T000000.000Z 7
push_at torn 20261002T000000.000Z 8
push_at torn 20261003T000000.000Z 9
echo junk >"$(ls "$T"/store/layers/refs/torn/20261003*)"
expect_exit 0 zl-prune --keep-last 1 --apply torn
expect_grep '^keep +ref +torn +2026-10-02.*last good$' "$OUT"
[ "$(refs_of torn)" = '20261002T000000.000Z 20261003T000000.000Z' ]

say "foreign objects beside are as they were"
for f in other/x layersX/y layers/README layers/refs/web1/notes.txt layers/refs/web1/.hidden; do
    [ "$(cat "$T/store/$f")" = foreign ] || fail "$f"
done

say "--local: what dead pushes left; not what can be finished, nor what a living push has"
rm -rf "$ZL_STATE_DIR"
spool=$ZL_STATE_DIR/spool
{ ZL_CRASH_AT=push.spooled zl-push --name later <"$(small_layer 7)" >"$OUT"; } 2>"$ERR" || true
finishable=$(find "$spool" -name '*.spool')
mkfifo "$T/pipe"
zl-push --name living <"$T/pipe" >"$T/living.out" 2>&1 &
living=$!
test_pids+=($living)
exec 9>"$T/pipe"
head -c 1000 "$T/layers/8" >&9
spools() { find "$spool" -name '*.spool' | wc -l; }
within 10 eval '[ $(spools) = 2 ]'
# These come after any push of ours, which would sweep them by itself.
head -c 5000 /dev/zero >"$spool/20261101T000000.000Z-00000000.spool"
sqlite3 "$ZL_STATE_DIR/push.db" "INSERT INTO push SELECT id + 100, $(sqlite3 "$ZL_STATE_DIR/push.db" \
    "SELECT group_concat(CASE name WHEN 'spool' THEN '''$spool/gone.spool''' ELSE name END)
     FROM pragma_table_info('push') WHERE name <> 'id'") FROM push WHERE state = 'spooled'"
for _ in 1 2; do # a dry run marks nothing
    expect_exit 0 zl-prune --local
    expect_grep '^mark +spool +.*-00000000.spool .*no push .*knows it: zl-push < FILE' "$OUT"
    expect_grep '^mark +spool +.*gone.spool .*cannot be finished; goes with a run after 1d' "$OUT"
done
expect_grep '^would remove 0 objects, 0 B; 2 objects, 4.9 KiB, would wait' "$OUT"
expect_exit 0 zl-prune --local --apply
expect_exit 0 zl-prune --local --apply
expect_grep '^wait +spool +.*-00000000.spool .*; stays until' "$OUT"
[ "$(spools)" = 3 ] || fail "removed without its day: $(ls "$spool")"
rows() { sqlite3 "$ZL_STATE_DIR/push.db" 'SELECT count(*) FROM push'; }
[ "$(rows)" = 3 ]
sqlite3 "$ZL_STATE_DIR/push.db" \
    "UPDATE fact SET value = '2026-01-01T00:00:00.000Z' WHERE name = 'dead-since'"
expect_exit 0 zl-prune --local
expect_grep '^remove +spool +.*-00000000.spool' "$OUT"
[ "$(spools)$(rows)" = 33 ] || fail "a dry run removed a spool"
expect_exit 0 zl-prune --local --apply
expect_grep '^removed 2 objects, 4.9 KiB' "$OUT"
[ "$(spools)$(rows)" = 22 ] && [ -e "$finishable" ] || fail "$(ls "$spool")"
tail -c +1001 "$T/layers/8" >&9
exec 9>&-
wait $living
expect_exit 0 zl-push --resume
zl-pull living | cmp - "$T/layers/8"
zl-pull later | cmp - "$T/layers/7"
