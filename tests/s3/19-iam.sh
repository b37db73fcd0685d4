#!/bin/bash
# Goal: with exactly the rights of recipes/iam/TOOL.json a tool does its whole job, and with one of
# them taken away it ends with 77 and names the one that is missing.
. "$(dirname "$0")/../support/lib.sh"
. "$support/walship.sh"

recipes=$support/../../recipes/iam
: "${ZL_TEST_LIMITED_ACCESS_KEY:?}"
owner=$AWS_ACCESS_KEY_ID
export ZL_TEST_BUCKET=iam-$$
use_s3
s3_root=root # the policies name it
ZL_STORE="s3://$ZL_TEST_BUCKET/$s3_root?endpoint=$ZL_TEST_ENDPOINT&region=us-east-1"
s3 make-bucket "$ZL_TEST_BUCKET"

# policy TOOL [ACTION]: what the limited user may do: what TOOL's recipe says, without ACTION, which is
# denied as well, because Ceph lets the owner of an object read it in any case.
policy() {
    sed "s/BUCKET/$ZL_TEST_BUCKET/; s/ROOT/$s3_root/" "$recipes/$1.json" |
        jq --arg without "${2:-}" --arg bucket "$ZL_TEST_BUCKET" '.Statement[] |= (.Principal = {AWS: ["arn:aws:iam:::user/limited"]}
            | .Action -= [$without]) | .Statement |= map(select(.Action != []))
            | if $without == "" then . else .Statement += [{Effect: "Deny", Action: $without,
                Principal: {AWS: ["arn:aws:iam:::user/limited"]},
                Resource: ["arn:aws:s3:::" + $bucket, "arn:aws:s3:::" + $bucket + "/*"]}] end' >"$T/policy"
    [ -z "${2:-}" ] || grep -q "\"$2\"" "$recipes/$1.json" || fail "$1.json has no $2"
    s3 put-policy "$ZL_TEST_BUCKET" "$T/policy"
}
limited() { AWS_ACCESS_KEY_ID=$ZL_TEST_LIMITED_ACCESS_KEY "$@"; }
# lacks TOOL ACTION COMMAND...: refused without it, quickly, and ACTION is named.
lacks() {
    local tool=$1 action=$2 start=$SECONDS
    shift 2
    policy "$tool" "$action"
    expect_exit 77 limited "$@"
    expect_grep "^hint: .* needs? .*$action " "$ERR"
    expect_grep "^hint: .*the credentials came from the environment .* on arn:aws:s3:::$ZL_TEST_BUCKET" "$ERR"
    [ $((SECONDS - start)) -lt 5 ] || fail "a refusal was tried again"
    policy "$tool"
}
mkdir "$T/tree"
head -c 16000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
push() { zl-push --part-size 5MiB --jobs 1 --name web1 "$@" <"$T/layer"; }

say "nothing is allowed yet"
expect_exit 77 limited zl-pull web1

say "zl-push: several parts, continued after kills, already stored"
policy push
expect_exit 0 limited zl-push --dry-run --name web1
expect_grep '^writable +yes' "$OUT"
for point in push.created push.part:2 push.completing; do
    ZL_CRASH_AT=$point limited zl-push --part-size 5MiB --jobs 1 --name web1 <"$T/layer" >/dev/null 2>&1 || true
done
limited zl-push --resume >/dev/null
limited zl-push --name web1 <"$T/layer" >/dev/null
[ "$(stored_refs)" -ge 2 ] || fail "refs: $(store_list layers/refs/)"
rm -rf "$ZL_STATE_DIR"
fresh() { # other bytes, so that there is something to send
    rm -rf "$ZL_STATE_DIR"
    head -c 16000000 /dev/urandom >"$T/tree/noise"
    zl-pack "$T/tree" >"$T/layer"
}
for action in s3:ListBucket s3:GetObject s3:PutObject; do
    fresh
    lacks push $action zl-push --name web1 <"$T/layer"
done
lacks push s3:AbortMultipartUpload zl-push --dry-run --name web1
fresh
ZL_CRASH_AT=push.part:2 limited zl-push --part-size 5MiB --name web1 <"$T/layer" >/dev/null 2>&1 || true
lacks push s3:ListMultipartUploadParts zl-push --resume
limited zl-push --resume >/dev/null
fresh
ZL_CRASH_AT=push.created limited zl-push --part-size 5MiB --name web1 <"$T/layer" >/dev/null 2>&1 || true
lacks push s3:ListBucketMultipartUploads zl-push --resume
limited zl-push --resume >/dev/null

say "zl-pull"
policy pull
limited zl-pull web1 | cmp - "$T/layer"
limited zl-pull --path noise web1 | zl-unpack -C "$T/noise"
cmp "$T/noise/noise" "$T/tree/noise"
expect_exit 66 limited zl-pull nobody
expect_exit 77 limited zl-push --force --name web1 <"$T/layer"
lacks pull s3:ListBucket zl-pull web1
lacks pull s3:GetObject zl-pull web1

say "zl-walship: snapshot in parts, segments, another start, a hundred commits"
policy walship
new_db 'CREATE TABLE t(v)'
sql "INSERT INTO t SELECT randomblob(4000) FROM generate_series(1, 3000)"
expect_exit 0 limited zl-walship --once "$DB"
expect_empty "$ERR"
sql "INSERT INTO t SELECT randomblob(40) FROM generate_series(1, 3000)"
expect_exit 0 limited zl-walship --once "$DB"
expect_empty "$ERR"
AWS_ACCESS_KEY_ID=$ZL_TEST_LIMITED_ACCESS_KEY start_ship --snapshot-interval 1s
within 20 is_streaming
for i in 1 2 3; do sql "INSERT INTO t VALUES($i)"; sleep 1.1; done
drain_ship
expect_empty "$T/ship.err"
for action in s3:ListBucket s3:GetObject s3:PutObject; do
    sql "INSERT INTO t VALUES('$action')"
    rm -rf "$T/cache"
    # A cache of its own: a new start, which looks at everything.
    lacks walship $action zl-walship --once --name "new-${action#s3:}" --cache-dir "$T/cache" "$DB"
done
say "zl-walship without the right to delete: it ships, and leaves what is old"
policy walship s3:DeleteObject
expect_exit 0 limited zl-walship --once --name keeper --cache-dir "$T/keeper" "$DB"
limited zl-walship --once "$DB"

say "zl-restore"
policy restore
limited zl-restore --list app >"$OUT"
limited zl-restore --check full -o "$T/r.db" app
[ "$(sqlite3 "$T/r.db" 'SELECT count(*) FROM t')" = "$(sql 'SELECT count(*) FROM t')" ]
expect_exit 0 limited zl-restore --auto -o "$T/none.db" nobody
lacks restore s3:ListBucket zl-restore -o "$T/new.db" app
lacks restore s3:GetObject zl-restore -o "$T/new.db" app
[ ! -e "$T/new.db" ]

say "zl-ls"
policy ls
expect_exit 0 limited zl-ls
expect_grep web1 "$OUT"
for how in --check=full --max-age=1h --uploads; do expect_exit 0 limited zl-ls $how; done
# An upload that rests, for what looks at uploads.
fresh
ZL_CRASH_AT=push.part:2 zl-push --part-size 5MiB --jobs 1 <"$T/layer" >/dev/null 2>&1 || true
for action in s3:ListBucket s3:GetObject; do lacks ls $action zl-ls --check; done
for action in s3:ListBucketMultipartUploads s3:ListMultipartUploadParts; do lacks ls $action zl-ls --uploads; done

say "zl-prune: names, layers, moments, uploads; all that it can write is a mark"
policy prune
expect_exit 77 limited zl-push --raw --accept-eof <"$T/policy"
rm -rf "$ZL_STATE_DIR" # nobody here knows the upload
export ZL_TEST_GRACE=1s
prune() { zl-prune --keep-last 1 --uploads-older 2s --apply "$@"; }
sleep 2.5
for action in s3:ListBucketMultipartUploads s3:ListMultipartUploadParts; do lacks prune $action prune; done
for action in s3:ListBucket s3:PutObject s3:DeleteObject; do lacks prune $action prune --all; done
lacks prune s3:AbortMultipartUpload prune
lacks prune s3:GetObject zl-prune --keep-within 1s --apply db/app
expect_exit 0 limited prune --all
sleep 1.5
expect_exit 0 limited prune --all
[ "$(stored_layers)" = "$(stored_refs)" ] || fail "$(store_list layers/)"
[ -z "$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root/")" ] || fail "an upload is left"
segments=$(store_list db/app/ | wc -l)
expect_exit 0 limited zl-prune --keep-within 1s --apply db/app
[ "$(store_list db/app/ | wc -l)" -lt "$segments" ] || fail "no moment went"
AWS_ACCESS_KEY_ID=$owner s3 empty "$ZL_TEST_BUCKET"
