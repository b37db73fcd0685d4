#!/bin/bash
# Goal: the units in recipes/systemd are right for systemd, tight, and run the tools as they say.
. "$(dirname "$0")/../support/lib.sh"
command -v sqlite3 >/dev/null || skip "needs sqlite3"

mkdir "$T/units" "$T/etc"
cp "$support"/../../recipes/systemd/* "$T/units"
cd "$T/units"
values() { sed -n "s/^$2=//p" "$1"; } # UNIT SETTING
export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x

if command -v systemd-analyze >/dev/null; then
    say "systemd-analyze finds nothing wrong, and little that is exposed"
    sed -i "s|^ExecStart=|&$ZL_BIN/|" ./*.service # verify wants the program to be there
    cp zl-walship@.service zl-walship@app.service
    expect_exit 0 systemd-analyze verify --man=no ./zl-walship@app.service \
        ./zl-{push,prune}@web1.{service,timer}
    expect_empty "$ERR"
    for unit in zl-*@.service; do
        expect_exit 0 systemd-analyze security --offline=yes --no-pager --threshold=30 "./$unit"
    done
    rm zl-walship@app.service
    sed -i "s|^ExecStart=$ZL_BIN/|ExecStart=|" ./*.service
fi

say "no code that trying again cannot better is tried again"
permanent=$(sed -n 's/.*RestartPreventExitStatus=\([0-9 ]*\).*/\1/p' "$support/../../man/zl.7.scd")
[ -n "$permanent" ] || fail "zl(7) does not say which"
[ "$(values zl-walship@.service RestartPreventExitStatus)" = "$permanent" ]
[ "$(values zl-push@.service RestartPreventExitStatus)" = "3 $permanent" ]
[ "$(values zl-prune@.service RestartPreventExitStatus)" = "$permanent" ]

# start UNIT INSTANCE [WRAPPER...]: its command with what EnvironmentFile= holds, as systemd starts it
start() {
    local line
    # ${X} is one word for systemd, also without a value.
    line=$(values "zl-$1@.service" ExecStart | sed -E "s/%i/$2/g; s/\\$\{([A-Z]+)\}/\"\${\1-}\"/g")
    values "zl-$1@.service" EnvironmentFile | sed "s/%i/$2/; s|^-||; s|/etc/zl|$T/etc|" >"$T/files"
    shift 2
    (
        while read -r file; do [ ! -e "$file" ] || { set -a && . "$file" && set +a; }; done <"$T/files"
        eval "exec \"\$@\" $line"
    )
}
echo "DIR=$T/web1" >"$T/etc/web1.env"
echo "DB=$T/app.db" >"$T/etc/app.env"
echo "ZL_STORE=$ZL_STORE" >"$T/etc/env"
unset ZL_STORE
mktree "$T/web1"
sqlite3 "$T/app.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >"$T/.mode"
if command -v strace >/dev/null; then
    trace() { echo strace -f -qq -o "$T/trace.$1"; }
else
    trace() { echo env; }
fi

say "zl-push@web1 stores DIR as web1"
expect_exit 0 start push web1 $(trace push)
expect_empty "$ERR"
export ZL_STORE=file://$T/store
zl-pull web1 | zl-unpack -C "$T/back"
same_tree "$T/web1" "$T/back"

say "zl-prune@web1 removes what the rules in the file do not keep, and nothing without a rule"
. "$support/prune.sh"
push_at web1 20261001T010000.000Z 1
push_at web1 20261001T020000.000Z 2
push_at web2 20261001T010000.000Z 3
push_at web2 20261001T020000.000Z 4
unset ZL_STORE
expect_exit 64 start prune web1 env
echo "ZL_KEEP_DAILY=2" >>"$T/etc/web1.env"
expect_exit 0 start prune web1 $(trace prune)
expect_grep '^remove +ref +web1 +2026-10-01T01' "$OUT"
expect_empty "$ERR"
expect_exit 0 zl-ls --store "$T/store" web1
[ "$(wc -l <"$OUT")" = 2 ] || fail "$(cat "$OUT")"
expect_exit 0 zl-ls --store "$T/store" web2
[ "$(wc -l <"$OUT")" = 2 ] || fail "another name: $(cat "$OUT")"

say "zl-walship@app replicates DB as app until SIGTERM"
start walship app $(trace walship) 2>"$T/err" &
pid=$!
test_pids+=($pid)
streaming() { zl-walship --status --json "$T/app.db" 2>/dev/null | jq -e '.state == "streaming"' >"$OUT"; }
within 20 streaming
sqlite3 "$T/app.db" 'INSERT INTO t VALUES(2)'
tool=$pid # below the shell and strace
while child=$(pgrep -P "$tool"); do tool=$child; done
kill -TERM "$tool"
wait $pid || fail "$(cat "$T/err")"
expect_exit 0 zl-restore --store "$T/store" -o "$T/r.db" app
[ "$(sqlite3 "$T/r.db" 'SELECT count(*) FROM t')" = 2 ] || fail "not all is stored"
: >"$T/etc/none.env"
expect_exit 64 start walship none env
expect_grep 'DB' "$ERR"

say "credentials are found where LoadCredential= puts them"
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
echo "ZL_STORE='s3://b?endpoint=http://127.0.0.1:1&region=x'" >"$T/etc/env"
name=$(values zl-push@.service LoadCredential)
mkdir "$T/credentials"
export CREDENTIALS_DIRECTORY=$T/credentials ZL_RETRY_FOR=1s
expect_exit 77 start push web1 env
expect_grep "$T/credentials/aws-credentials \(absent\)" "$ERR"
printf '[default]\naws_access_key_id = a\naws_secret_access_key = s\n' >"$T/credentials/${name%%:*}"
expect_exit 75 start push web1 env
expect_grep '127.0.0.1:1' "$ERR"
[ "$(values zl-prune@.service LoadCredential | cut -d: -f1)" = "${name%%:*}" ]
[ "$(values zl-prune@.service LoadCredential)" != "$name" ] || fail "pushes get the right to delete"

command -v strace >/dev/null && command -v systemd-analyze >/dev/null || exit 0
say "SystemCallFilter= allows what they call"
for unit in push prune walship; do
    [ -s "$T/trace.$unit" ] || fail "no trace"
    values zl-$unit@.service SystemCallFilter >"$T/filters"
    python3 - "$T/filters" "$T/trace.$unit" <<'END'
import re, subprocess, sys
sets = {}
def expand(name):
    if not name.startswith('@'):
        return {name}
    if name not in sets:
        text = subprocess.run(['systemd-analyze', 'syscall-filter', '--no-pager', name],
                              capture_output=True, text=True, check=True).stdout
        sets[name] = set().union(*(expand(w) for w in re.findall(r'^ +([@a-z0-9_-]+)$', text, re.M)))
    return sets[name]
allowed = expand('@default')
for line in open(sys.argv[1]):
    names = set().union(*(expand(n) for n in line.strip('~\n').split()))
    allowed = allowed - names if line[0] == '~' else allowed | names
called = set(re.findall(r'^\d+ +([a-z0-9_]+)\(', open(sys.argv[2]).read(), re.M))
assert len(called) > 20 and 'openat' in called, called
if called - allowed:
    sys.exit('not allowed: %s' % sorted(called - allowed))
END
done
