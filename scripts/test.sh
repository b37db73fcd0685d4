#!/bin/bash
# test.sh [--only PATTERN] [--list] [--keep] [--no-install]  -- the whole test suite
# Installs what is missing, builds into ./build-test, then runs unit tests and lint, the pipeline
# tests on the directory store, and everything that needs a server on real S3 servers that it starts
# on the loopback and always stops. One line per test; the last line is `N passed, N failed`.
#   --only PATTERN   tests whose name matches this extended regular expression
#   --list           print the names, run nothing
#   --keep           keep the temporary directory with each test's log and files
#   --no-install     install nothing
# Needs root for the tests of overlay mounts, devices and trusted xattrs; they are named otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
only=. list= keep= install=1
while [ $# -gt 0 ]; do
    case $1 in
    --only) only=${2:?--only needs a pattern} && shift ;;
    --list) list=1 ;;
    --keep) keep=1 ;;
    --no-install) install= ;;
    *)
        sed -n '2,10s/^# \{0,1\}//p' "$0"
        [[ $1 = -h || $1 = --help ]] && exit 0 || exit 64
        ;;
    esac
    shift
done
build=${ZL_TEST_BUILD:-$top/build-test}
export LC_ALL=C.UTF-8

unit=(base stream state store layer transfer wal inventory prune tools)
names() {
    echo lint
    printf 'unit/%s\n' "${unit[@]}"
    (cd tests && find pipeline s3 -name '*.sh' | sort | sed 's/\.sh$//')
    printf 's3/conformance-%s\n' rgw swift
    grep -l '^# also: swift' tests/s3/*.sh 2>/dev/null |
        sed 's|^tests/s3/|swift/|; s/\.sh$//' || true
}
mapfile -t chosen < <(names | grep -E -- "$only")
[ ${#chosen[@]} -gt 0 ] || { echo "test.sh: no test matches $only" >&2; exit 64; }
[ -z "$list" ] || { printf '%s\n' "${chosen[@]}"; exit 0; }
wants() { printf '%s\n' "${chosen[@]}" | grep -qE "$1"; }

[ -z "$install" ] || scripts/install-deps.sh test
log=$(mktemp -d "${TMPDIR:-/tmp}/zl-test.XXXXXX")
chmod 755 "$log"
finish() {
    local code=$?
    trap - EXIT
    for server in "$log"/rgw "$log"/swift; do "$top/tests/support/server-down.sh" "$server"; done
    if [ -n "$keep" ]; then echo "kept: $log" >&2; else rm -rf --one-file-system "$log"; fi
    exit $code
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- build ----
{
    [ -e "$build/build.ninja" ] ||
        meson setup "$build" "$top" -Dcrash_points=true --werror --buildtype=debugoptimized
    ninja -C "$build"
} >"$log/build.log" 2>&1 || {
    tail -60 "$log/build.log"
    echo "FAIL  build"
    echo "0 passed, 1 failed"
    exit 1
}
# A copy where other users can run it too, wherever the clone lies.
find "$build/tools" -maxdepth 1 -name 'zl-*' -type f -perm -u+x -exec install -D -t "$log/bin" {} +
export ZL_BIN=$log/bin ZL_BUILD=$build ZL_TEST_TMP=$log ZL_TEST_KEEP=$keep
: >"$log/results"

# run_one NAME: one test, one line, one row in the results.
run_one() {
    local name=$1 out="$log/${1//\//_}.log" start=$SECONDS code=0
    case $name in
    lint) command=(python3 "$top/tests/support/lint.py") ;;
    unit/*) command=("$build/tests/$name/test_${name#unit/}") ;;
    s3/conformance-*) command=("$build/tests/unit/store/test_store") ;;
    swift/*) command=(bash "$top/tests/s3/${name#swift/}.sh") ;;
    *) command=(bash "$top/tests/$name.sh") ;;
    esac
    (
        cd "$log"
        case $name in
        unit/*) unset "${!AWS_@}" ;;
        s3/conformance-rgw) use_server rgw && conformance ;;
        s3/conformance-swift | swift/*) use_server swift && conformance ;;
        s3/*) use_server rgw ;;
        esac
        exec timeout -k 10 900 "${command[@]}"
    ) </dev/null >"$out" 2>&1 || code=$?
    case $code in
    0) verdict=ok ;;
    77) [ "$(id -u)" = 0 ] && verdict=FAIL || verdict=SKIP ;;
    *) verdict=FAIL ;;
    esac
    {
        flock 9
        echo "$verdict $name" >>"$log/results"
        printf '%-5s %s (%d s)\n' "$verdict" "$name" $((SECONDS - start))
        case $verdict in
        FAIL) tail -n 25 "$out" | sed 's/^/      | /' ;;
        SKIP) grep '^SKIP' "$out" | sed 's/^/      | /' ;;
        esac
    } 9>>"$log/lock"
}
# use_server rgw|swift: the environment of a started server; fails the test if there is none.
use_server() {
    [ -s "$log/$1.env" ] || { echo "the $1 server did not start:"; cat "$log/$1.err"; return 1; }
    export ZL_TEST_ENDPOINT ZL_TEST_SERVER=$1 ZL_TEST_BUCKET=zltest AWS_ACCESS_KEY_ID \
        AWS_SECRET_ACCESS_KEY ZL_TEST_LIMITED_ACCESS_KEY AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
    ZL_TEST_ENDPOINT=$(sed -n 's/^ENDPOINT=//p' "$log/$1.env")
    AWS_ACCESS_KEY_ID=$(sed -n 's/^ACCESS_KEY=//p' "$log/$1.env")
    AWS_SECRET_ACCESS_KEY=$(sed -n 's/^SECRET_KEY=//p' "$log/$1.env")
    ZL_TEST_LIMITED_ACCESS_KEY=$(sed -n 's/^LIMITED_ACCESS_KEY=//p' "$log/$1.env")
}
conformance() {
    export ZL_TEST_S3_STORE="s3://$ZL_TEST_BUCKET/conformance?endpoint=$ZL_TEST_ENDPOINT&region=us-east-1"
}
# start_server rgw|swift: on a free port, three tries; the outcome is in $log/NAME.env.
start_server() {
    for _ in 1 2 3; do
        if "$top/tests/support/$1-up.sh" "$log/$1" $((20000 + RANDOM % 9000)) \
            >"$log/$1.env.new" 2>"$log/$1.err"; then
            mv "$log/$1.env.new" "$log/$1.env"
            (use_server "$1" && python3 "$top/tests/support/s3mini.py" make-bucket zltest)
            return
        fi
        "$top/tests/support/server-down.sh" "$log/$1"
    done
    echo "test.sh: $1 did not start" >&2
}
# pool NAME...: two at a time, except those that say that they must be alone.
pool() {
    local name running=0
    local -a alone=()
    for name; do
        if grep -qs '^# alone' "$top/tests/$name.sh"; then
            alone+=("$name")
            continue
        fi
        if [ $running -ge 2 ]; then
            wait -n
            running=$((running - 1))
        fi
        run_one "$name" &
        running=$((running + 1))
    done
    wait
    for name in "${alone[@]}"; do run_one "$name"; done
}
these() { printf '%s\n' "${chosen[@]}" | grep -E "$1" || true; }

# shellcheck disable=SC2046  # names have no spaces
pool $(these '^(lint$|unit/)')
# shellcheck disable=SC2046
pool $(these '^pipeline/')
if wants '^s3/'; then
    start_server rgw
    # shellcheck disable=SC2046
    pool $(these '^s3/' | grep -v swift || true)
    "$top/tests/support/server-down.sh" "$log/rgw"
fi
if wants 'swift'; then
    start_server swift
    # shellcheck disable=SC2046
    pool $(these 'swift')
    "$top/tests/support/server-down.sh" "$log/swift"
fi

count() { grep -c "^$1 " "$log/results" || true; }
if [ "$(count SKIP)" -gt 0 ]; then
    echo "NOT RUN, they need root: $(sed -n 's/^SKIP //p' "$log/results" | sort | tr '\n' ' ')"
fi
[ "$(wc -l <"$log/results")" = ${#chosen[@]} ] || echo "FAIL a test left no result" >>"$log/results"
echo "$(count ok) passed, $(count FAIL) failed"
[ "$(count FAIL)" = 0 ]
