#!/bin/bash
# Goal: the recipes for cron, CI and encryption do what they say, as they are written.
. "$(dirname "$0")/../support/lib.sh"
. "$support/prune.sh"
command -v sqlite3 >/dev/null || skip "needs sqlite3"

recipes=$support/../../recipes
no_store='s3://b?endpoint=http://127.0.0.1:1&region=x'
export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=hunter2

say "cron: each line is silent when all is well, and says what failed when it is not"
mktree "$T/web1"
mkdir "$T/app"
sqlite3 "$T/app/app.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >"$T/.mode"
grep -E '^([0-9*@])' "$recipes/cron/zl" | sed -E 's/^(@[a-z]+|([^ ]+ ){5}) *root +//' |
    sed "s|/srv/web1|$T/web1|; s|/var/lib/app|$T/app|; s|/etc/zl|$T/etc|" >"$T/lines"
[ "$(wc -l <"$T/lines")" = 5 ] || fail "lines not understood"
line_of() { grep -E "(^| )$1 " "$T/lines"; }
expect_no_grep '%' "$T/lines" # cron takes it for a line feed
while read -r line; do
    expect_exit 0 sh -c "$line"
    expect_empty "$OUT"
    expect_empty "$ERR"
done <"$T/lines"
[ "$(stored_refs)" = 1 ] && [ -s "$T/store/db/app/metadata.json" ] || fail "not stored"

say "cron: a push that is too old is one line of mail"
expect_exit 0 sh -c "$(line_of zl-ls)"
(cd "$T/store/layers/refs/web1" && for ref in *Z-*; do mv "$ref" "20261001T000000.000Z-${ref#*Z-}"; done)
expect_exit 1 sh -c "$(line_of zl-ls)"
expect_empty "$OUT"
[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"
expect_grep '^zl-ls: web1: the newest is of 2026-10-01T00:00:00.000Z, .* more than 25h$' "$ERR"

say "cron: retention removes what the rules do not keep, with credentials of its own"
push_at web1 20261002T010000.000Z 1
push_at web1 20261002T020000.000Z 2
prune=$(line_of zl-prune)
expect_exit 0 sh -c "${prune/ --apply/}" # as by hand
[ "$(refs_of web1 | wc -w)" = 3 ] || fail "a dry run"
expect_exit 0 sh -c "$prune"
expect_empty "$OUT"
expect_empty "$ERR"
[ "$(refs_of web1)" = "20261001T000000.000Z 20261002T020000.000Z" ] || fail "$(refs_of web1)"
mkdir "$T/etc"
for key in '' 'aws_access_key_id = a'; do
    printf '[default]\n%s\n%s\n' "$key" "${key:+aws_secret_access_key = s}" >"$T/etc/prune-credentials"
    (
        unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
        ZL_STORE=$no_store ZL_RETRY_FOR=1s expect_exit "$([ -n "$key" ] && echo 75 || echo 77)" sh -c "$prune"
    )
done

say "cron: the store does not answer"
rm -rf "$T/app/app.db.zl" # it belongs to one store
while read -r line; do # the last one resumes what the first one could not send
    ZL_STORE=$no_store ZL_RETRY_FOR=1s expect_exit 75 sh -c "$line"
    expect_empty "$OUT"
    [ "$(wc -l <"$ERR")" -le 4 ] || fail "too much for a mail: $(cat "$ERR")"
    expect_grep '^zl-(ls|prune|push|walship): .*127.0.0.1:1' "$ERR"
    expect_no_grep hunter2 "$ERR"
done <"$T/lines"
rm -rf "$T/state"/*

say "CI: made once, then taken from the store; another lock file, another key"
mkdir "$T/project"
cd "$T/project"
ci=$(grep -oE 'cached-dir.sh.*' "$recipes/ci/github.yml")
[ "$ci" = 'cached-dir.sh" package-lock.json node_modules npm ci' ] || fail "$ci"
cat >"$T/tmp/npm" <<END
#!/bin/bash
[ "\$1" = ci ] && echo made >>$T/made && mkdir -p node_modules/.bin && cp package-lock.json node_modules/ &&
    ln -sfn ../x node_modules/.bin/x
END
chmod +x "$T/tmp/npm"
PATH=$T/tmp:$PATH
cached() { bash "$recipes/ci/${ci%%.sh*}.sh" ${ci#*\" }; }
made() { wc -l <"$T/made"; }
echo one >package-lock.json
expect_exit 0 cached
expect_empty "$ERR"
cp -a node_modules "$T/first"
rm -r node_modules
expect_exit 0 cached
[ "$(made)" = 1 ] || fail "made again"
same_tree "$T/first" node_modules
rm -r node_modules
echo two >package-lock.json
expect_exit 0 cached
[ "$(made)" = 2 ] || fail "another lock file, the same directory"
expect_exit 0 cmp package-lock.json node_modules/package-lock.json

say "CI: a directory whose name could not be one of the store"
for _ in 1 2; do
    rm -rf .venv
    expect_exit 0 bash "$recipes/ci/cached-dir.sh" package-lock.json .venv sh -c "echo >>'$T/venvs'; mkdir .venv"
done
[ "$(wc -l <"$T/venvs")" = 1 ] || fail "made again: $(cat "$ERR")"

say "CI: what is wrong with the cache is said, and fails no build; what is wrong with the build does"
rm -r node_modules
expect_grep 'retry-for 1m' "$recipes/ci/cached-dir.sh"
sed 's/--retry-for 1m/--retry-for 1s/' "$recipes/ci/cached-dir.sh" >"$T/tmp/impatient.sh"
ZL_STORE=$no_store expect_exit 0 bash "$T/tmp/impatient.sh" package-lock.json node_modules npm ci
expect_grep '127.0.0.1:1' "$ERR"
expect_grep 'node_modules is not cached' "$ERR"
[ "$(made)" = 3 ] && [ -e node_modules/package-lock.json ] || fail "not made"
expect_exit 0 cached # stored by an earlier build, but the directory is not empty
expect_grep 'node_modules' "$ERR"
rm -r node_modules
for layer in "$T"/store/layers/*.tar.zst; do
    printf xxxx | dd of="$layer" bs=1 seek=40 conv=notrunc status=none
done
expect_exit 0 cached
[ "$(made)" = 5 ] && [ -e node_modules/package-lock.json ] || fail "not made"
if [ "$(id -u)" = 0 ]; then # what may not be read by whoever packs
    printf '#!/bin/sh\nexec setpriv --reuid 1000 --regid 1000 --clear-groups %s/zl-pack "$@"\n' "$ZL_BIN" >"$T/tmp/zl-pack"
    chmod +x "$T/tmp/zl-pack"
    echo partly >package-lock.json
    for _ in 1 2; do
        rm -rf node_modules
        expect_exit 0 bash "$recipes/ci/cached-dir.sh" package-lock.json node_modules \
            sh -c "echo >>'$T/parts'; mkdir node_modules; echo x >node_modules/x; chmod 600 node_modules/x"
        expect_grep 'made anew each time' "$ERR"
    done
    [ "$(wc -l <"$T/parts")" = 2 ] || fail "half a directory was taken"
    rm "$T/tmp/zl-pack"
fi
echo three >package-lock.json
expect_exit 5 bash "$recipes/ci/cached-dir.sh" package-lock.json node_modules sh -c 'exit 5'
expect_exit 64 bash "$recipes/ci/cached-dir.sh" package-lock.json
[ -z "$(ls "$T"/tmp/layer* 2>/dev/null)" ] || fail "left: $(ls "$T/tmp")"
cd "$T"
rm -rf "$T/store"

if command -v age >/dev/null; then
    say "encrypted: there and back; nothing readable is in the store"
    age-keygen -o "$T/key" 2>"$T/.keygen"
    age-keygen -y "$T/key" >"$T/recipients"
    age-keygen -o "$T/other" 2>"$T/.keygen"
    encrypted=$recipes/encrypted/encrypted.sh
    expect_exit 0 "$encrypted" push web1-enc "$T/web1" "$T/recipients"
    expect_grep '^sha256:' "$OUT"
    expect_empty "$ERR"
    head -c 21 "$T"/store/layers/raw/* | grep -q '^age-encryption.org/v1' || fail "not encrypted"
    expect_exit 0 "$encrypted" pull web1-enc "$T/back" "$T/key"
    same_tree "$T/web1" "$T/back"
    say "encrypted: the wrong key, a cut stream, a producer that fails"
    code=0
    "$encrypted" pull web1-enc "$T/none" "$T/other" >"$OUT" 2>"$ERR" || code=$?
    [ $code != 0 ] && [ ! -e "$T/none" ] || fail "with the wrong key: exit $code"
    zl-pack "$T/web1" >"$T/layer"
    head -c $(($(stat -c %s "$T/layer") - 10)) "$T/layer" | age -R "$T/recipients" >"$T/cut"
    zl-push --raw --accept-eof --name cut <"$T/cut" >"$T/.digest"
    code=0
    "$encrypted" pull cut "$T/none" "$T/key" >"$OUT" 2>"$ERR" || code=$?
    [ $code = 65 ] && [ ! -e "$T/none" ] || fail "a cut layer: exit $code"
    refs=$(stored_refs)
    expect_exit 65 "$encrypted" push failed "$T/nowhere" "$T/recipients"
    expect_exit 65 "$encrypted" push failed "$T/web1" "$T/nowhere"
    [ "$(stored_refs)" = "$refs" ] || fail "stored what failed"
    expect_exit 64 "$encrypted" push web1 "$T/web1"
fi
