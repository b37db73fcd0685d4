#!/bin/bash
# Goal: each kind of failure has its exit code, a message that names the value, and a hint; stdout is
# empty unless there is a payload.
. "$(dirname "$0")/../support/lib.sh"

mktree --only small "$T/tree"
zl-pack "$T/tree" >"$T/layer"
refused() { # EXIT PATTERN COMMAND...: stdout empty, stderr from the tool itself and about PATTERN
    local code=$1 pattern=$2
    shift 2
    expect_exit "$code" "$@"
    expect_empty "$OUT"
    expect_grep "$pattern" "$ERR"
    expect_grep '^zl-[a-z]+: ' "$ERR"
    expect_no_grep 'terminate called|Assertion' "$ERR"
}

say "usage: 64"
for tool in zl-pack zl-push zl-pull zl-unpack; do
    refused 64 "no-such-option" $tool --no-such-option
    expect_grep 'hint: |--help' "$ERR"
done
refused 64 DIR zl-pack
refused 64 "two|extra|operand|unexpected" zl-pack "$T/tree" "$T/two"
refused 64 'DIR|-C' zl-unpack <"$T/layer"
refused 64 'REF' zl-pull
refused 64 'level' zl-pack --level 23 "$T/tree"
refused 64 'level' zl-pack --level x "$T/tree"
refused 64 'sparse' zl-pack --sparse sometimes "$T/tree"
refused 64 'part-size' zl-push --part-size 12parsecs <"$T/layer"
refused 64 'jobs' zl-push --jobs 0 <"$T/layer"
refused 64 'tag' zl-push --tag novalue <"$T/layer"
refused 64 'raw' zl-push --raw <"$T/layer"
for name in latest .hidden a/.b a//b /a a/ 'a b' '../a' a/refs/b snapshots deadbeef 0123456789abcdef \
    a/metadata.json 'ü'; do
    refused 64 'name|NAME' zl-push --name "$name" <"$T/layer"
done
[ -z "$(store_list)" ] || fail "a refused push left something: $(store_list)"

say "store URLs: unknown keys, secrets, relative paths"
refused 64 'endpoint' zl-push --store 's3://b/r?endpiont=http://x' <"$T/layer" # names the near one
refused 64 'AWS_|profile|credential' zl-push --store 's3://b/r?secret_access_key=TOPSECRET' <"$T/layer"
expect_no_grep TOPSECRET "$ERR"
refused 64 'AWS_|profile|credential' zl-push --store 's3://AKIA:TOPSECRET@b/r' <"$T/layer"
expect_no_grep TOPSECRET "$ERR"
refused 64 'absolute|file://|s3://' zl-push --store relative/dir <"$T/layer"
refused 64 'bucket' zl-push --store 's3://' <"$T/layer"
refused 64 'scheme|s3://|ftp' zl-push --store 'ftp://x/y' <"$T/layer"

say "not there: 66"
refused 66 "$T/nothing" zl-pack "$T/nothing"
refused 66 'web9' zl-pull web9
refused 66 'no named layer|latest' zl-pull latest
refused 66 'aaaaaaaaaa' zl-pull sha256:$(printf 'a%.0s' {1..64})
refused 66 'deadbeef' zl-pull deadbeef

say "bad data: 65; output exists: 73; local I/O: 74; configuration: 78"
refused 65 . zl-push --name x </dev/null
refused 65 . zl-unpack -C "$T/new" </etc/passwd
mkdir "$T/full"
touch "$T/full/x"
refused 73 "$T/full" zl-unpack -C "$T/full" <"$T/layer"
refused 73 "$T/full/x" zl-unpack -C "$T/full/x" <"$T/layer"
refused 73 . zl-pack -o "$T/no/such/dir/out" "$T/tree"
zl-push --name web1 <"$T/layer" >/dev/null
refused 73 . zl-pull -o "$T/no/such/dir/out" web1
expect_exit 74 bash -c "zl-pack '$T/tree' >/dev/full"
expect_grep 'space' "$ERR"
expect_exit 74 bash -c "zl-pull web1 >/dev/full"
echo 'level = 99' >"$T/bad.conf"
refused 78 'bad.conf' zl-pack --config "$T/bad.conf" "$T/tree"
echo 'nonsense = 1' >"$T/bad.conf"
refused 78 'nonsense' zl-pack --config "$T/bad.conf" "$T/tree"
echo 'no equals sign' >"$T/bad.conf"
refused 78 'bad.conf' zl-pack --config "$T/bad.conf" "$T/tree"
refused 78 'missing.conf' zl-pack --config "$T/missing.conf" "$T/tree"
ZL_LEVEL=99 refused 78 'ZL_LEVEL' zl-pack "$T/tree"

say "binary never goes to a terminal, nor is one read from it: 64"
for command in "zl-pack $T/tree" 'zl-pull web1' 'zl-push </dev/tty' "zl-unpack -C $T/tty </dev/tty"; do
    code=0
    script -qec "$command" /dev/null </dev/null >"$OUT" 2>&1 || code=$?
    [ $code = 64 ] || fail "$command: exit $code: $(cat "$OUT")"
    expect_grep terminal "$OUT"
done

say "no store anywhere: the embedded default"
(
    unset ZL_STORE
    if [ "$(id -u)" = 0 ]; then
        zl-pack --print-config >/dev/null
        zl-pull --print-config | grep -q '/var/lib/zl/store'
    else
        zl-push --name web1 <"$T/layer" >/dev/null
        [ -n "$(ls "$XDG_DATA_HOME"/zl/store/layers/*.tar.zst)" ]
    fi
)

say "an unset variable is not a name"
refused 64 'name|NAME' zl-push --name "" <"$T/layer"
