#!/bin/bash
# Goal: the first ten minutes of somebody who has just installed zl, at a terminal, with no
# configuration: each step works or says what to type.
. "$(dirname "$0")/../support/lib.sh"

unset ZL_STORE ZL_STATE_DIR AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
[ "$(id -u)" != 0 ] || { # the defaults of root are outside of the test's own world
    export ZL_STORE=file://$XDG_DATA_HOME/zl/store ZL_STATE_DIR=$XDG_STATE_HOME/zl
}
export T TERM=xterm
# typed COMMAND [CODE]: at a terminal; what it shows in $OUT, without carriage returns.
typed() {
    local code=0
    SHELL=/bin/bash script -qec "set -o pipefail; $1" /dev/null </dev/null >"$T/typescript" 2>&1 || code=$?
    # What the last carriage return of a line has left over is what can be read.
    sed 's/\r$//; s/.*\r//' "$T/typescript" | grep -av '^ *$' >"$OUT" || true
    [ $code = "${2:-0}" ] || fail "$1: exit $code, expected ${2:-0}: $(cat "$OUT")"
}
mktree --only files "$T/d"
setfattr -n user.note -v kept "$T/d" 2>/dev/null || true

say "1 which version is it?"
typed 'zl-push --version'
[ "$(wc -l <"$OUT")" = 1 ]
expect_grep '^zl-push [0-9.]+ \(layer format 1, libcurl .*zstd' "$OUT"

say "2 zl-pack alone: three lines at most, and where help is"
typed zl-pack 64
[ "$(wc -l <"$OUT")" -le 3 ]
expect_grep '^hint: .*zl-pack --help' "$OUT"

say "3 help: an example first, and it fits a screen"
typed 'zl-pack --help'
sed -n 3,4p "$OUT" | grep -q 'zl-pack'
[ "$(wc -l <"$OUT")" -le 45 ] || fail "$(wc -l <"$OUT") lines"

say "4 binary is not written to a terminal; -o - insists"
typed "zl-pack $T/d" 64
expect_grep 'stdout is a terminal' "$OUT"
expect_grep '^hint: .*zl-push.*-o FILE' "$OUT"
typed "zl-pack -o - $T/d"
zl-pack -n "$T/d" >"$T/list"
typed "zl-pack -n $T/d"
expect_grep $'^f\t' "$OUT"
expect_grep $'^total\t[0-9]+ entries\t.*sha256:[0-9a-f]{64}$' "$OUT"

say "5 into a store, without any configuration"
typed "zl-pack $T/d | zl-push --name web1"
expect_grep '^sha256:[0-9a-f]{64}$' "$OUT"
[ "$(id -u)" = 0 ] || expect_grep 'no --store given, using file://.*store' "$OUT"
digest=$(grep -a '^sha256:' "$OUT")
grep -qF "$digest" "$T/list" || fail "the dry run announced another digest"

say "6 the same again: nothing is sent, which is said"
typed "zl-pack $T/d | zl-push --name web1"
expect_grep "^zl-push: $digest is already stored" "$OUT"
expect_grep "^$digest$" "$OUT"

say "7 what is there?"
typed zl-ls
expect_grep '^web1 +layer ' "$OUT"

say "8 no lock-in: standard tools read it"
short=${digest#sha256:}
typed "zl-pull ${short:0:8} | zstd -dc | tar -tv | head -3; true"
expect_grep '^d' "$OUT"

say "9 back, and the same"
typed "zl-pull latest | zl-unpack -C $T/e"
same_tree "$T/d" "$T/e"

say "10 what would a push do? Where to, as whom, may it"
typed 'zl-push -n --name web1 </dev/null'
expect_grep '^store +file://' "$OUT"
expect_grep '^newest +20' "$OUT"
expect_grep '^unfinished +nothing$' "$OUT"
expect_grep '^writable +yes$' "$OUT"
before=$(find "$HOME" -type f | sort)
zl-push -n --json | jq -e '.writable == true and .unfinished.pushes == 0' >/dev/null
[ "$(find "$HOME" -type f | sort)" = "$before" ] || fail "a dry run left something"
typed 'ZL_STORE=s3://bucket/p?endpoint=http://127.0.0.1:9 zl-push -n </dev/null' 77
expect_grep 'no credentials|credentials' "$OUT"
expect_grep '^hint: ' "$OUT"
if [ "$(id -u)" != 0 ]; then
    mkdir -m 555 "$T/locked"
    typed "zl-push -n --store $T/locked/store </dev/null" 77
fi

say "11 Ctrl-C: what is kept, and how to go on"
expect_exit 130 python3 "$support/typist.py" 'spooling 0 B' '^C' 'sleep 30 | zl-push --name big'
expect_no_grep 'zl-push: ' "$OUT"
[ -z "$(find "$HOME" -name '*.spool')" ] || fail "a spool is left"

say "12 a live database, and back"
command -v sqlite3 >/dev/null || skip "needs sqlite3"
sqlite3 "$T/app.db" 'PRAGMA journal_mode = wal; CREATE TABLE t(v)' >/dev/null
typed "zl-walship $T/app.db & sleep 1; sqlite3 $T/app.db \"INSERT INTO t VALUES('row')\"; kill %1; wait %1"
typed "zl-restore -o $T/r.db app"
expect_grep '^zl-restore: restored 20' "$OUT"
[ "$(sqlite3 "$T/r.db" 'SELECT v FROM t')" = row ]
