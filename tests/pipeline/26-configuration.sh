#!/bin/bash
# Goal: option over environment over file over default; --print-config says where from; nothing is
# silently ignored.
. "$(dirname "$0")/../support/lib.sh"

mkdir -p "$XDG_CONFIG_HOME/zl"
conf=$XDG_CONFIG_HOME/zl/zl.conf
value() { zl-pack "$@" --print-config | sed -n 's/^level *= *\([^ #]*\).*/\1/p'; }
[ "$(value)" = 3 ] || fail "default: $(value)"
printf '# comment\nlevel = 4\nstore = file:///from/file\n' >"$conf"
[ "$(value)" = 4 ] || fail "file: $(value)"
[ "$(ZL_LEVEL=5 value)" = 5 ]
[ "$(ZL_LEVEL=5 value --level 6)" = 6 ]
printf 'level = 7\n' >"$T/other.conf"
[ "$(value --config "$T/other.conf")" = 7 ]
[ "$(ZL_CONFIG=$T/other.conf value)" = 7 ]
zl-pull --print-config | grep -qF "file://$T/store" # ZL_STORE is set
(unset ZL_STORE; zl-pull --print-config | grep -q 'file:///from/file')

say "what is printed is itself a configuration file"
ZL_LEVEL=9 zl-pack --print-config >"$T/printed.conf"
[ "$(value --config "$T/printed.conf")" = 9 ]

say "a misspelt variable is named"
mktree --only small "$T/tree"
rm "$conf"
ZL_LEVLE=5 zl-pack "$T/tree" 2>"$ERR" >/dev/null
expect_grep 'ZL_LEVLE' "$ERR"

say "--metrics: written at every exit, valid, without secrets"
export AWS_SECRET_ACCESS_KEY=TOPSECRET1 AWS_ACCESS_KEY_ID=AKIDTOPSECRET2
zl-pack "$T/tree" >"$T/layer"
zl-push --name web1 --metrics "$T/m.prom" <"$T/layer" >/dev/null
expect_grep '^zl_last_exit_code\{.*\} 0$' "$T/m.prom"
expect_grep '^zl_last_success_timestamp_seconds\{.*name="web1".*\} [0-9.e+]+$' "$T/m.prom"
success=$(grep '^zl_last_success' "$T/m.prom")
expect_exit 65 zl-push --name web1 --metrics "$T/m.prom" </dev/null
expect_grep '^zl_last_exit_code\{.*\} 65$' "$T/m.prom"
[ "$(grep '^zl_last_success' "$T/m.prom")" = "$success" ] || fail "the last success is gone"
expect_no_grep TOPSECRET "$T/m.prom"
! grep -vE '^(#.*|zl_[a-z_]+(\{[^}]*\})? [-0-9.e+]+)$' "$T/m.prom" || fail "not Prometheus text"
expect_exit 0 zl-pull --metrics "$T/m2.prom" web1
expect_grep 'zl_' "$T/m2.prom"

say "the state directory is private"
[ "$(stat -c %a "$ZL_STATE_DIR")" = 700 ] || [ "$(find "$ZL_STATE_DIR" -type f -perm /077)" = "" ]
! grep -ra TOPSECRET "$ZL_STATE_DIR" "$T/store" || fail "a secret is kept"
