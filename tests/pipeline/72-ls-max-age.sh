#!/bin/bash
# Goal: zl-ls --max-age answers whether a backup is fresh, for cron: silent with stdout thrown away when
# it is, one line on stderr for each that is not; and "the store does not answer" is never that answer.
. "$(dirname "$0")/../support/lib.sh"

mkdir "$T/tree"
pack_store "$T/tree" web1
zl-pack "$T/tree" | zl-push --name web2 >"$OUT"
sqlite3 "$T/app.db" 'PRAGMA journal_mode = wal; CREATE TABLE t(v)' >"$T/.mode"
zl-walship --once "$T/app.db"

cron() { # CODE COMMAND...: as from cron
    expect_exit "$@"
    : >"$OUT"
}
say "fresh: nothing to mail"
cron 0 zl-ls --max-age=25h web1
expect_empty "$ERR"
cron 0 zl-ls --max-age=25h
expect_empty "$ERR"
expect_exit 0 zl-ls --max-age=25h
[ "$(cut -f 1,4 "$OUT" | tr '\t\n' '  ')" = "web1 fresh web2 fresh db/app fresh " ] || fail "$(cat "$OUT")"

say "stale: which, and how old it is"
old=20260101T000000.000Z
ref=$(ls "$T"/store/layers/refs/web1/*.json)
mv "$ref" "${ref%/*}/$old-${digest:0:12}.json"
cron 1 zl-ls --max-age=25h web1 web2
[ "$(wc -l <"$ERR")" = 1 ]
expect_grep '^zl-ls: web1: the newest is of 2026-01-01T00:00:00\.000Z, [0-9]+d.* old, more than 25h' "$ERR"
expect_exit 1 zl-ls --json --max-age=25h
jq -s -e 'map(select(.fresh | not) | .name) == ["web1"] and .[0].age_seconds > 90000' "$OUT" >"$T/.jq"
expect_exit 1 zl-ls -q --max-age=25h
expect_empty "$ERR"
expect_exit 0 zl-ls --max-age=25h web2
say "fresh enough"
expect_exit 0 zl-ls --max-age=30000d web1

say "a push from the future, by a clock that was wrong, is no proof of a backup"
ref=$(ls "$T"/store/layers/refs/web2/*.json)
cp "$ref" "${ref%/*}/29990101T000000.000Z-${digest:0:12}.json"
expect_exit 1 zl-ls --json --max-age=1h web2
jq -e '.fresh == false and .age_seconds < -1000000' "$OUT" >"$T/.jq"
expect_grep '^zl-ls: web2: the newest is of 2999-.*a clock was wrong' "$ERR"
rm "$T"/store/layers/refs/web2/2999*
expect_exit 0 zl-ls --max-age=1h web2

say "a database"
expect_exit 0 zl-ls --max-age=1h db/app
sleep 0.3
expect_exit 1 zl-ls --max-age=100ms db/app

say "a push whose layer is gone does not count"
rm "$T/store/layers/$digest.tar.zst"
expect_exit 1 zl-ls --max-age=25h web2
expect_grep 'its layer is not there' "$ERR"
expect_grep 'web2: nothing that could be had' "$ERR"

say "no such name is another answer, and so is a store that is not there"
expect_exit 66 zl-ls --max-age=1h web3
expect_exit 66 zl-ls --max-age=1h db/none
expect_exit 64 zl-ls --max-age=1h "$digest"
expect_exit 64 zl-ls --max-age=1 web1
for how in --check --max-age=1h --uploads -l; do
    AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=y \
        expect_exit 75 zl-ls $how --retry-for 1s --store "s3://b/r?endpoint=http://127.0.0.1:1&region=us-east-1"
    expect_empty "$OUT"
done

say "an empty or misspelt store is not a good one"
expect_exit 66 zl-ls --check --store "$T/typo"
expect_grep 'nothing is stored in' "$ERR"
[ ! -e "$T/typo" ]
