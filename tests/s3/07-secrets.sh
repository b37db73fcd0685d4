#!/bin/bash
# Goal: credentials and signatures appear nowhere: not in argv, logs at any level, state, spool,
# metrics, messages about failures, or the core of a crash message.
. "$(dirname "$0")/../support/lib.sh"
use_proxy

mktree --only files "$T/tree"
zl-pack "$T/tree" >"$T/layer"
all() {
    zl-push -vvv --part-size 5MiB --force --name web1 --metrics "$T/m.prom" <"$T/layer"
    zl-push -vvv --log-format json --name web1 <"$T/layer"
    zl-pull -vvv web1 >/dev/null
    zl-pull -vvv --print-config
    zl-push -vvv --print-config
    zl-push --resume --list
    rules '[{"action":"status","status":403,"code":"SignatureDoesNotMatch","count":-1,
             "xml":"<StringToSign>AWS4-HMAC-SHA256 abc</StringToSign><SignatureProvided>feedfacefeedface</SignatureProvided>"}]'
    zl-push -vvv --force --name web1 <"$T/layer"
    control DELETE /rules
    AWS_SESSION_TOKEN=SESSIONTOKENSECRET zl-push -vvv --force --name web1 <"$T/layer"
    rules '[{"action":"reset_before","count":-1}]'
    zl-push -vvv --retry-for 1s --force --name web1 <"$T/layer"
}
all >"$T/said" 2>&1 || true
control DELETE /rules >/dev/null
[ "$(wc -l <"$T/said")" -gt 30 ] || fail "-vvv says next to nothing: $(cat "$T/said")"
for place in "$T/said" "$T/m.prom" "$ZL_STATE_DIR" "$HOME"; do
    for secret in "$AWS_SECRET_ACCESS_KEY" SESSIONTOKENSECRET 'Signature=[0-9a-f]' feedfaceface \
        'X-Amz-Signature' 'Credential='; do
        ! grep -raqE -- "$secret" "$place" || fail "$secret in $place: $(grep -raE -m1 -- "$secret" "$place")"
    done
done
[ -s "$T/m.prom" ]

say "not in argv, nor in the environment that is shown"
rules '[{"method":"PUT","action":"hold"}]'
zl-push --force --name web1 <"$T/layer" >/dev/null 2>&1 &
pid=$!
within 30 held
! tr '\0' '\n' <"/proc/$pid/cmdline" | grep -F "$AWS_SECRET_ACCESS_KEY" || fail "in argv"
kill -KILL $pid
wait $pid 2>/dev/null || true
control PUT /drop >/dev/null
control DELETE /rules >/dev/null

say "every request is signed with the hash of its body"
[ "$(log_count '.method == "PUT" and (.headers["x-amz-content-sha256"] | test("^[0-9a-f]{64}$") | not)')" = 0 ]
[ "$(log_count '.headers | keys | map(select(test("^x-amz-checksum"))) | length > 0')" = 0 ]

say "-vv: a line for each request, -v none"
for level in -v -vv; do
    clear_log
    expect_exit 0 zl-pull $level web1
    lines=$(grep -cE ' (list|get|head|put) s3://.*: 20[0-9] in .*, request ' "$ERR") || true
    requests=$(log_count true)
    [ "$lines" = "$([ $level = -v ] && echo 0 || echo "$requests")" ] || fail "$level: $lines lines for $requests requests"
done
[ "$requests" -ge 3 ] || fail "$requests requests"

say "credentials from a profile, and from a process"
cat >"$T/credentials" <<INI
[backup]
aws_access_key_id = $AWS_ACCESS_KEY_ID
aws_secret_access_key = $AWS_SECRET_ACCESS_KEY
[process]
credential_process = $T/process.sh
INI
cat >"$T/process.sh" <<SH
#!/bin/sh
echo '{"Version":1,"AccessKeyId":"$AWS_ACCESS_KEY_ID","SecretAccessKey":"$AWS_SECRET_ACCESS_KEY"}'
SH
chmod +x "$T/process.sh"
export AWS_SHARED_CREDENTIALS_FILE=$T/credentials
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
AWS_PROFILE=backup zl-pull web1 | cmp - "$T/layer"
AWS_PROFILE=process zl-pull web1 | cmp - "$T/layer"
zl-pull --store "$ZL_STORE&profile=backup" web1 | cmp - "$T/layer"
AWS_PROFILE=nobody expect_exit 78 zl-pull web1
expect_grep nobody "$ERR"
