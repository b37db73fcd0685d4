#!/bin/bash
# Goal: zl-prune beside a zl-walship that runs: old restore points go, what is younger and the newest
# state restore as before, the shipper goes on; an abandoned generation goes by its name only.
. "$(dirname "$0")/../support/lib.sh"
. "$support/walship.sh"
export ZL_TEST_GRACE=1s ZL_TEST_DAY=1s

whole() { expect_exit 0 zl-ls --check=full db/app; }
objects() { store_list "db/app/$1" | wc -l; }
new_db
start_ship --sync-interval 50ms --snapshot-interval 1s --retain off
within 10 is_streaming
start_writer --rate 40
sleep 5
kept_moment=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
kept_second=$(date +%s)
within_kept() { echo "$(($(date +%s) - kept_second + 1))s"; } # D that keeps this moment
sleep 3
before=$(objects '')

say "usage: counting rules are none for databases; a name that is none"
expect_exit 64 zl-prune --keep-daily 3 db/app
expect_grep 'not the moments of a database' "$ERR"
expect_exit 64 zl-prune db/app
expect_exit 66 zl-prune --keep-within 1d db/nothing
expect_exit 66 zl-prune --generation 0123456789abcdef db/app
generation=$(jq -r .generation "$T/store/db/app/metadata.json")
expect_exit 64 zl-prune --generation "$generation" --apply db/app
expect_grep 'is the current one' "$ERR"

say "nothing younger than the grace goes, whatever is asked for"
ZL_TEST_GRACE=1h expect_exit 0 zl-prune --keep-within 1s --apply db/app
expect_grep '^removed 0 objects' "$OUT"

say "a dry run changes nothing"
expect_exit 0 zl-prune --keep-within "$(within_kept)" db/app
expect_grep '^remove +db +db/app .*that no kept moment needs$' "$OUT"
expect_grep '^keep +db +db/app .*current generation' "$OUT"
[ "$(objects '')" -ge "$before" ] || fail "a dry run deleted"

say "old moments go while the shipper and the application run"
expect_exit 0 zl-prune --keep-within "$(within_kept)" --apply --json db/app
jq -es 'last | .applied and .objects > 20' "$OUT" >/dev/null || fail "$(tail -1 "$OUT")"
[ "$(objects '')" -lt "$before" ] || fail "$before objects before, now $(objects '')"
# --at restores what was then: it is younger than D.
zl-restore --check full --at "$kept_moment" -o "$T/then.db" app
walwriter check - "$T/then.db" --log "$T/log" --until "$kept_moment" --slack 360 >"$T/check.json" ||
    fail "a kept moment: $(cat "$T/check.json")"
within 10 is_streaming # between two snapshots
sleep 1
stop_writer
zl-walship --flush "$DB"
check_same
expect_exit 0 zl-restore --list app
expect_no_grep 'hole|damaged' "$OUT"
whole

say "killed in the middle: what is left can be restored, the next run goes on"
sleep 2
{ ZL_CRASH_AT=prune.db:5 zl-prune --keep-within 1s --apply db/app >"$OUT"; } 2>"$ERR" || true
check_same
expect_exit 0 zl-restore --list app
expect_no_grep 'damaged' "$OUT"
expect_exit 0 zl-prune --keep-within 1s --apply db/app
check_same
whole
write_rows 20
zl-walship --flush "$DB"
check_same

say "its keeper merges and deletes beside it, and copes with what is gone"
drain_ship
sqlite3 "$DB.zl/state.db" 'UPDATE catalogue SET time = time - 432000000'
start_ship --sync-interval 50ms --snapshot-interval 1s --retain 24h --fine 24h
within 10 is_streaming
for _ in 1 2 3; do
    write_rows 40
    sleep 1
    zl-prune --keep-within 1s --apply db/app >/dev/null
done
zl-walship --flush "$DB"
check_same
whole

say "an abandoned generation goes by its name, with the current one untouched"
drain_ship
start_ship --sync-interval 50ms --snapshot-interval 1h --retain off
within 10 is_streaming
write_rows 100
drain_ship
check_same
rm -rf "$DB" "$DB"-* "$DB.zl" "$T/log"
sqlite3 "$DB" 'PRAGMA journal_mode = wal' >/dev/null
start_ship --sync-interval 50ms --take-over
within 10 is_streaming
write_rows 20
zl-walship --flush "$DB"
sleep 2
check_same
# By age its newest snapshot and what follows stay for good.
expect_exit 0 zl-prune --keep-within 0s --apply db/app
restore --generation "$generation"
expect_exit 0 zl-prune --generation "$generation" db/app
expect_grep "^remove +db +db/app .*$generation, all of it" "$OUT"
{ ZL_CRASH_AT=prune.db:3 zl-prune --generation "$generation" --apply db/app >"$OUT"; } 2>"$ERR" || true
# Its tip is gone; the moments before it are there.
expect_exit 65 zl-restore --generation "$generation" -o "$T/x.db" app
restore --check full --sequence "$(sed -nE 's/^hint: .*--sequence ([0-9]+)$/\1/p' "$ERR")"
expect_exit 0 zl-prune --generation "$generation" --apply db/app
expect_exit 66 zl-prune --generation "$generation" --apply db/app
expect_exit 0 zl-restore --list app
expect_no_grep "^$generation|hole|damaged" "$OUT"
expect_exit 66 zl-restore --generation "$generation" -o "$T/x.db" app
whole
write_rows 20
zl-walship --flush "$DB"
check_same
drain_ship

say "--all takes databases with --keep-within only; a foreign one is left alone, the others go on"
mkdir -p "$T/store/db/alien/wal"
echo '{"latest_wal_sequence": 3}' >"$T/store/db/alien/metadata.json"
expect_exit 0 zl-prune --keep-last 3 --all
expect_no_grep ' db ' "$OUT"
expect_exit 65 zl-prune --keep-within 0s --apply --all
expect_grep '^zl-prune: db/alien is left alone' "$ERR"
expect_grep '^keep +db +db/app' "$OUT"
[ -e "$T/store/db/alien/metadata.json" ]
check_same

say "--prefix in place of db/app/"
cp -a "$T/store/db/app" "$T/store/elsewhere"
expect_exit 64 zl-prune --prefix elsewhere/ --keep-within 1d db/app db/other
expect_exit 0 zl-prune --prefix elsewhere/ --keep-within 0s --apply db/app
expect_grep '^keep +db +db/app' "$OUT"
rm -rf "$T/store/db/app"
ZL_PREFIX=elsewhere/ check_same
