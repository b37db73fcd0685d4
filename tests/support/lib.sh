# lib.sh  -- what every test script sources first. Gives it
#   $T        its own temporary directory, removed afterwards (kept with ZL_TEST_KEEP=1)
#   PATH      with the tools of $ZL_BIN in front
#   a world of its own: HOME, XDG_*, ZL_STATE_DIR, TMPDIR below $T, no AWS_* or ZL_* of the caller,
#   ZL_STORE=file://$T/store
# A command that fails ends the test with its file and line. Exit: 0 passed, 77 skipped.
# shellcheck shell=bash
set -Eeuo pipefail

support=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${ZL_BIN:?set ZL_BIN to the directory that has zl-pack (scripts/test.sh does)}"
test_name=$(basename "$0" .sh)
T=$(mktemp -d "${ZL_TEST_TMP:-/tmp}/zl-$test_name.XXXXXX")
chmod 755 "$T" # tests as another user look inside

test_pids=()
test_cleanup() {
    local code=$?
    trap - EXIT ERR
    for pid in "${test_pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    # Mounts that a test left, the last one first.
    awk -v t="$T/" 'index($5, t) == 1 {print $5}' /proc/self/mountinfo | tac |
        while read -r m; do umount -l "$m" 2>/dev/null || true; done
    if [ -n "${ZL_TEST_KEEP:-}" ]; then
        echo "kept: $T"
    else
        chmod -R u+rwx "$T" 2>/dev/null || true
        rm -rf --one-file-system "$T" 2>/dev/null || true
    fi
    exit $code
}
trap test_cleanup EXIT
trap 'code=$?; echo "FAILED at $(basename "${BASH_SOURCE[0]}"):$LINENO (exit $code): $BASH_COMMAND" >&2' ERR

unset "${!ZL_CRASH@}" "${!AWS_WEB@}" AWS_PROFILE AWS_SESSION_TOKEN ZL_STORE ZL_CONFIG ZL_METRICS \
    ZL_LOG_FORMAT ZL_PROGRESS http_proxy https_proxy HTTP_PROXY HTTPS_PROXY 2>/dev/null || true
mkdir -p "$T"/{home,tmp,state}
export HOME=$T/home TMPDIR=$T/tmp ZL_STATE_DIR=$T/state XDG_CONFIG_HOME=$T/home/.config \
    XDG_STATE_HOME=$T/home/.state XDG_DATA_HOME=$T/home/.data XDG_CACHE_HOME=$T/home/.cache \
    ZL_STORE=file://$T/store AWS_EC2_METADATA_DISABLED=true \
    PATH=$ZL_BIN:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL=C.UTF-8 TZ=UTC
umask 022
OUT=$T/.stdout ERR=$T/.stderr # of the last expect_exit

say() { echo "-- $*"; }
fail() {
    echo "FAILED at $(basename "${BASH_SOURCE[1]}"):${BASH_LINENO[0]}: $*" >&2
    exit 1
}
skip() {
    echo "SKIP: $*"
    exit 77
}
need_root() { [ "$(id -u)" = 0 ] || skip "needs root: ${1:-}"; }

# expect_exit N COMMAND...: stdin is passed on; stdout and stderr land in $OUT and $ERR.
expect_exit() {
    local want=$1 got=0
    shift
    "$@" >"$OUT" 2>"$ERR" || got=$?
    [ "$got" = "$want" ] && return 0
    echo "FAILED at $(basename "${BASH_SOURCE[1]}"):${BASH_LINENO[0]}:" \
        "exit $got, expected $want: $*" >&2
    head -c 2000 "$ERR" >&2
    exit 1
}
# expect_grep PATTERN FILE (extended regular expression)
expect_grep() {
    grep -aqE -- "$1" "$2" && return 0
    echo "FAILED at $(basename "${BASH_SOURCE[1]}"):${BASH_LINENO[0]}: no /$1/ in $2:" >&2
    head -c 2000 "$2" >&2
    exit 1
}
expect_no_grep() {
    ! grep -aqE -- "$1" "$2" && return 0
    echo "FAILED at $(basename "${BASH_SOURCE[1]}"):${BASH_LINENO[0]}: /$1/ in $2:" >&2
    grep -aE -m 3 -- "$1" "$2" >&2
    exit 1
}
expect_empty() {
    [ ! -s "$1" ] && return 0
    echo "FAILED at $(basename "${BASH_SOURCE[1]}"):${BASH_LINENO[0]}: $1 is not empty:" >&2
    head -c 2000 "$1" >&2
    exit 1
}
# within SECONDS COMMAND...: repeats until it succeeds
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "not within the time: $*"
        sleep 0.05
    done
}
# wait_all PID...: each of them ends with 0; `wait` with several tells of the last one only
wait_all() {
    local pid
    for pid; do wait "$pid" || fail "process $pid ended with $?"; done
}

mktree() { python3 "$support/mktree.py" "$@"; }
walker() { python3 "$support/walker.py" "$@"; }
# same_tree [walker's options] A B
same_tree() {
    walker "$@" >"$T/walker.out" && return 0
    echo "FAILED at $(basename "${BASH_SOURCE[1]}"):${BASH_LINENO[0]}: trees differ: $*" >&2
    head -30 "$T/walker.out" >&2
    exit 1
}
differ_tree() { ! walker "$@" >"$T/walker.out" || fail "trees should differ: $*"; }

# pack_store TREE NAME: pack and push; the digest in $digest
pack_store() {
    digest=$(zl-pack "$1" | zl-push --name "$2")
    digest=${digest#sha256:}
    [[ $digest =~ ^[0-9a-f]{64}$ ]] || fail "not a digest: $digest"
}
# Objects of the store, whichever kind, below a prefix: "SIZE KEY" lines.
store_list() {
    if [[ $ZL_STORE == file://* ]]; then
        local dir=${ZL_STORE#file://}
        [ -d "$dir" ] || return 0
        (cd "$dir" && find . -type f -not -name '.*' -path "./${1:-}*" -printf '%s %P\n' | sort -k2)
    else
        s3 list "$ZL_TEST_BUCKET" "$s3_root/${1:-}" | sed "s| $s3_root/| |"
    fi
}
# layers and refs that a reader could take for stored
stored_layers() { store_list layers/ | grep -cE '\.tar\.zst$' || true; }
stored_refs() { store_list layers/refs/ | grep -cE '\.json$' || true; }

# ---- S3 (scripts/test.sh starts the server and sets ZL_TEST_ENDPOINT, ZL_TEST_BUCKET, AWS_*) ----
s3() { python3 "$support/s3mini.py" "$@"; }
# A root of its own in the bucket.
use_s3() {
    [ -n "${ZL_TEST_ENDPOINT:-}" ] || fail "no S3 server: ZL_TEST_ENDPOINT is not set"
    s3_root=$test_name-$$
    ZL_STORE="s3://$ZL_TEST_BUCKET/$s3_root?endpoint=${1:-$ZL_TEST_ENDPOINT}&region=us-east-1"
}
# The same store, through a fault proxy.
use_proxy() {
    coproc proxy { exec python3 "$support/faultproxy.py" 0 "${ZL_TEST_ENDPOINT##*:}" 0; }
    test_pids+=("$proxy_PID")
    local word
    read -r word proxy_port control_port <&"${proxy[0]}"
    [ "$word" = READY ] || fail "the fault proxy did not start"
    use_s3 "http://127.0.0.1:$proxy_port"
}
control() { # METHOD PATH [JSON]
    curl -sS -f -X "$1" ${3:+-d "$3"} "http://127.0.0.1:$control_port$2"
}
rules() { control PUT /rules "$1" >/dev/null; }
clear_log() { control DELETE /log >/dev/null; }
# log_count JQ-CONDITION: requests in the proxy's log for which it holds
log_count() { control GET /log | jq "[.[] | select($1)] | length"; }
held() { [ "$(control GET /held | jq .now)" -ge "${1:-1}" ]; }
fired() { [ "$(log_count '.action != null')" -ge "${1:-1}" ]; }
