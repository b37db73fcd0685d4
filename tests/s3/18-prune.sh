#!/bin/bash
# Goal: zl-prune on a real S3 server: retention in two phases, left uploads, missing rights, lost
# replies, and beside many pushes; nothing foreign is touched.
. "$(dirname "$0")/../support/lib.sh"
. "$support/prune.sh"
use_proxy
proxied=$ZL_STORE
use_s3
export ZL_TEST_GRACE=2s ZL_TEST_NOTICE_LIFE=20s
bucket=$ZL_TEST_BUCKET root=$s3_root
put_foreign() { s3 put "$bucket" "$1" "$T/foreign"; }
echo foreign >"$T/foreign"
foreign=("$root/other/x" "$root/layersX" "$root/layers/README" "$root/layers/refs/web1/notes.txt"
    "$root-beside/layers/refs/web1/20261101T000000.000Z-0123456789ab.json")
for key in "${foreign[@]}"; do put_foreign "$key"; done

say "two phases, with raw layers too"
for n in 1 2 3; do zl-push --name web1 <"$(small_layer $n)" >"$T/digest$n"; done
zl-push --name raw --raw --accept-eof <"$T/layers/1" >"$T/raw1"
zl-push --name raw --raw --accept-eof <"$T/layers/2" >"$T/raw2"
store_list '' >"$T/before"
expect_exit 0 zl-prune --keep-last 1 web1 raw
store_list '' | diff "$T/before" - || fail "a dry run changed something"
expect_exit 0 zl-prune --keep-last 1 --apply web1 raw
[ "$(stored_refs)" = 2 ]
[ "$(store_list layers/ | grep -c doomed)" = 3 ]
expect_exit 0 zl-prune --keep-last 1 --apply web1 raw
[ "$(store_list layers/ | grep -c doomed)" = 3 ] || fail "the grace was not waited for"
sleep 3

say "without the right to delete: 77, with the right's name; all is there still"
rules '[{"action": "status", "status": 403, "code": "AccessDenied", "method": "DELETE", "count": -1}]'
ZL_STORE=$proxied expect_exit 77 zl-prune --keep-last 1 --apply web1 raw
expect_grep '^hint: .*s3:DeleteObject' "$ERR"
[ "$(stored_layers)" = 3 ]
# Its notice would hold pushes of these layers up until its life ends.
notice=$(store_list layers/prune/ | sed 's/.* //')
[ -n "$notice" ]
s3 delete "$bucket" "$root/$notice"
rules '[{"action": "status", "status": 403, "code": "AccessDenied", "method": "PUT", "count": -1}]'
ZL_STORE=$proxied expect_exit 77 zl-prune --keep-last 1 --apply web1 raw
expect_grep '^hint: .*s3:PutObject' "$ERR"

say "replies of deletes are lost: they are repeated, and all is gone"
rules '[{"action": "lose_response", "method": "DELETE", "count": 6}]'
ZL_STORE=$proxied expect_exit 0 zl-prune --keep-last 1 --apply web1 raw
[ "$(fired 6 && echo yes)" = yes ] || fail "nothing was lost"
rules '[]'
[ "$(stored_layers)" = 1 ] && [ "$(store_list layers/raw/ | wc -l)" = 2 ] || fail "$(store_list layers/)"
every_ref_pulls
zl-pull raw | cmp - "$T/layers/2"

say "uploads: old ones of ours go; young ones, foreign ones and those we can finish stay"
head -c 12000000 /dev/urandom >"$T/trees/big"
zl-pack -o "$T/big" "$T/trees"
for host in here elsewhere; do
    { ZL_CRASH_AT=push.part ZL_STATE_DIR=$T/$host zl-push --part-size 5MiB --name $host <"$T/big" >"$OUT"; } 2>"$ERR" || true
done
python3 - "$support" "$bucket" "$root/layers/somebody's" <<'PY'
import sys
sys.path.insert(0, sys.argv[1])
import s3mini
s3mini.need([200], s3mini.call('POST', '/%s/%s' % tuple(sys.argv[2:]), {'uploads': ''}))
PY
[ "$(s3 uploads "$bucket" "$root/" | wc -l)" = 3 ] || fail "$(s3 uploads "$bucket" "$root/")"
export ZL_STATE_DIR=$T/here
expect_exit 0 zl-prune --uploads-older 1h --apply
[ "$(s3 uploads "$bucket" "$root/" | wc -l)" = 3 ] || fail "a young upload was aborted"
sleep 2.5
expect_exit 0 zl-prune --uploads-older 2s
expect_grep '^abort +upload +layers/[0-9a-f]{64}.tar.zst .*[0-9.]+ MiB +no part since' "$OUT"
expect_exit 0 zl-prune --uploads-older 2s --apply
expect_grep '^removed 1 object' "$OUT"
[ "$(s3 uploads "$bucket" "$root/" | wc -l)" = 2 ]
expect_exit 0 zl-push --resume --part-size 5MiB
zl-pull here | cmp - "$T/big"
ZL_STATE_DIR=$T/elsewhere expect_exit 0 zl-push --resume
zl-pull elsewhere | cmp - "$T/big"

say "20 pushes and pulls beside two prunes in a loop"
begun=$SECONDS
: >"$T/bad"
worker() {
    export ZL_STATE_DIR=$T/host$1
    local n
    while [ $SECONDS -lt $((begun + 10)) ]; do
        n=$(((SECONDS - begun) / 4 % 2 + 1)) # so that each is without a name for a while
        zl-push --name "w$(($1 % 3))" <"$T/layers/$n" >/dev/null 2>>"$T/bad" || echo "push $1" >>"$T/bad"
        zl-pull "w$(($1 % 3))" 2>>"$T/bad" | zstd -tq || echo "pull $1" >>"$T/bad"
    done
}
workers=() pruners=()
for i in $(seq 1 20); do
    worker "$i" &
    workers+=($!)
done
for rules in '--keep-last 1 --all' '--keep-last 2 w0 w1'; do
    (until [ -e "$T/stop" ]; do
        # shellcheck disable=SC2086
        ZL_TEST_GRACE=1s zl-prune --apply $rules >>"$T/prunes" 2>"$T/prune.err" ||
            grep -q 'no layer named' "$T/prune.err" || cat "$T/prune.err" >>"$T/bad"
    done) &
    pruners+=($!)
done
wait_all "${workers[@]}"
touch "$T/stop"
wait_all "${pruners[@]}"
expect_empty "$T/bad"
expect_grep '^remove +layer' "$T/prunes"
every_ref_pulls
[ -z "$(store_list layers/prune/)" ] || fail "a notice is left"

say "foreign objects and uploads are as they were"
for key in "${foreign[@]}"; do [ "$(s3 get "$bucket" "$key")" = foreign ] || fail "$key"; done
[ "$(s3 uploads "$bucket" "$root/" | wc -l)" = 1 ]
