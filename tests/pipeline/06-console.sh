#!/bin/bash
# Goal: what a person at a terminal sees, and what a log file gets: progress only where it belongs,
# no escape sequences, JSON lines, misspelt settings named, metrics on every way out.
. "$(dirname "$0")/../support/lib.sh"

mktree --only small "$T/tree"
zl-pack "$T/tree" >"$T/layer"

# on_terminal COMMAND: run by bash with stdin, stdout and stderr on a new terminal; all it wrote is in $OUT.
# SHELL: script starts that, and only bash knows the functions exported below.
on_terminal() { SHELL=/bin/bash script -qec "$1" /dev/null </dev/null >"$OUT" 2>&1; }
slowly() { # the layer in two halves, with time for progress between them
    head -c 2000 "$T/layer"
    sleep 1
    tail -c +2001 "$T/layer"
}
export -f slowly
export T TERM=xterm

say "the last tool of a pipeline draws progress, without escape sequences, and takes it away"
on_terminal 'slowly | zl-push --name web1 >/dev/null'
expect_grep $'\r' "$OUT"
expect_grep ' [0-9.]+ (B|KiB|MiB)' "$OUT"
expect_no_grep $'\033' "$OUT"
tail -c 3 "$OUT" | grep -q $' \r$' || fail "the line is left behind: $(tail -c 40 "$OUT" | od -c)"

say "no progress: -q, --progress never, dumb terminal, JSON, no terminal"
for setting in 'ZL_QUIET=true' 'ZL_PROGRESS=never' 'TERM=dumb' 'ZL_LOG_FORMAT=json'; do
    on_terminal "slowly | $setting zl-push --force --name web1 >/dev/null" # not "already stored"
    expect_empty "$OUT"
done
slowly | zl-push --name web1 >/dev/null 2>"$ERR"
expect_empty "$ERR"

say "plain lines at an interval, as text and as JSON"
slowly | zl-push --progress 200ms --name web1 >/dev/null 2>"$ERR"
expect_grep '^zl-push: [a-z]+ [0-9.]+ (B|KiB)' "$ERR"
expect_no_grep $'\r' "$ERR"
slowly | zl-push --progress 200ms --log-format json --name web1 >/dev/null 2>"$ERR"
jq -es 'map(select(.event == "progress")) | length > 1 and all(.bytes >= 0 and .tool == "zl-push")' \
    "$ERR" >/dev/null

say "SIGUSR1 prints one line, also without a terminal and with -q"
mkfifo "$T/fifo"
zl-push -q --name web1 <"$T/fifo" >"$OUT" 2>"$ERR" &
pid=$!
exec 7>"$T/fifo"
head -c 2000 "$T/layer" >&7
within 10 grep -q SigCgt.*[1-9a-f] "/proc/$pid/status"
sleep 0.5
kill -USR1 $pid
within 10 test -s "$ERR"
[ "$(wc -l <"$ERR")" = 1 ]
tail -c +2001 "$T/layer" >&7
exec 7>&-
wait $pid
grep -q '^sha256:' "$OUT"

say "misspelt settings: variables are warned of, keys and options refused, each with the right name"
ZL_PART_SZIE=1 zl-push --name web1 <"$T/layer" >/dev/null 2>"$ERR"
expect_grep 'ZL_PART_SZIE.*ZL_PART_SIZE' "$ERR"
echo 'part-szie = 1' >"$T/conf"
expect_exit 78 zl-push --config "$T/conf" <"$T/layer"
expect_grep "$T/conf:1: .*part-szie" "$ERR"
expect_grep '^hint: .*part-size' "$ERR"
echo 'aws_secret_access_key = hunter2' >"$T/conf"
expect_exit 78 zl-push --config "$T/conf" <"$T/layer"
expect_no_grep hunter2 "$ERR"
expect_exit 64 zl-push --part-szie 1 <"$T/layer"
expect_grep '^hint: .*--part-size' "$ERR"
[ "$(wc -l <"$ERR")" -le 3 ]

say "precedence: option, variable, file, default"
part_size() { zl-push "$@" --print-config | sed -n 's/^part-size = //p'; }
mkdir -p "$XDG_CONFIG_HOME/zl"
[ "$(part_size)" = '64MiB  # default' ]
echo 'part_size = 7MiB' >"$XDG_CONFIG_HOME/zl/zl.conf"
[ "$(part_size)" = "7MiB  # from $XDG_CONFIG_HOME/zl/zl.conf:1" ]
[ "$(ZL_PART_SIZE=8MiB part_size)" = '8MiB  # from ZL_PART_SIZE' ]
[ "$(ZL_PART_SIZE=8MiB part_size --part-size 9MiB)" = '9MiB  # from option' ]
rm -r "$XDG_CONFIG_HOME/zl"

if [ "$(id -u)" = 0 ]; then
    say "somebody else's HOME: a warning, not a failure"
    mkdir -m 700 "$T/roots"
    as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups -- "$@"; }
    expect_exit 0 as_user env -u XDG_CONFIG_HOME HOME="$T/roots" zl-push --print-config
    expect_grep 'zl.conf: permission denied' "$ERR"
    say "but a file that was named, and cannot be read"
    touch "$T/roots/conf"
    expect_exit 78 as_user zl-push --config "$T/roots/conf" --print-config
fi

say "metrics: on success, on failure, on a signal; the last success is kept"
metric() { sed -n "s/^$1{tool=\"zl-push\",name=\"web1\"} //p" "$T/metrics"; }
zl-push --metrics "$T/metrics" --name web1 <"$T/layer" >/dev/null
[ "$(metric zl_last_exit_code)" = 0 ]
success=$(metric zl_last_success_timestamp_seconds)
[ "${success%.*}" -gt 1700000000 ]
expect_exit 65 zl-push --metrics "$T/metrics" --name web1 < <(head -c 2000 "$T/layer")
[ "$(metric zl_last_exit_code)" = 65 ]
[ "$(metric zl_last_success_timestamp_seconds)" = "$success" ]
zl-push --metrics "$T/metrics" --name web1 <"$T/fifo" >/dev/null 2>&1 &
pid=$!
exec 7>"$T/fifo"
sleep 0.5
kill -TERM $pid
code=0
wait $pid || code=$?
exec 7>&-
[ $code = 143 ] || fail "exit $code"
[ "$(metric zl_last_exit_code)" = 143 ]
[ "$(metric zl_last_success_timestamp_seconds)" = "$success" ]
[ -z "$(find "$T" -name '*.tmp')" ] || fail "a temporary file is left"

say "--timeout: 75, and nothing is stored"
expect_exit 75 zl-push --timeout 300ms --name web2 < <(sleep 1)
expect_grep 'timeout' "$ERR"
expect_exit 66 zl-pull web2

say "as PID 1, signals work too"
if unshare -fp true 2>/dev/null; then
    code=0
    unshare -fp zl-push --name web1 <"$T/fifo" >/dev/null 2>&1 &
    pid=$!
    exec 7>"$T/fifo"
    within 10 pgrep -P $pid -x zl-push >/dev/null
    inner=$(pgrep -P $pid -x zl-push)
    sleep 0.5
    grep -q "^NSpid:.*\s1$" "/proc/$inner/status" || fail "not PID 1"
    kill -TERM "$inner"
    wait $pid || code=$?
    exec 7>&-
    [ $code = 143 ] || fail "as PID 1: exit $code"
fi
