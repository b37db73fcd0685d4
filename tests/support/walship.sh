# walship.sh  -- what the tests of zl-walship share; source it after lib.sh. The database is $DB,
# its replica `app`; a shipper that runs is $ship, its messages are in $T/ship.err.
# shellcheck shell=bash disable=SC2154,SC2034

DB=$T/app.db
ship=
export XDG_RUNTIME_DIR=$T/tmp
command -v sqlite3 >/dev/null || skip "needs sqlite3"

walwriter() { python3 "$support/walwriter.py" "$@"; }
sql() { sqlite3 -cmd '.timeout 30000' "$DB" "$@"; }
# A database in WAL mode, a store and a cache that know nothing.
new_db() {
    rm -rf "$DB" "$DB"-* "$DB.zl" "$T/store" "$T"/log*
    sqlite3 "$DB" "${1:-}" 'PRAGMA journal_mode = wal' >"$T/.mode"
    expect_grep '^wal$' "$T/.mode"
}
# write_rows N: that many commits, acknowledged in $T/log
write_rows() {
    walwriter write "$DB" --seconds "$(awk "BEGIN {print $1 / 200}")" --rate 200 --log "$T/log" \
        >"$T/write.json"
}

# start_writer [OPTION]...: an application in the background, $writer
start_writer() {
    python3 "$support/walwriter.py" write "$DB" --log "$T/log" "$@" >"$T/writer.json" &
    writer=$!
    test_pids+=("$writer")
}
stop_writer() {
    kill -TERM "$writer"
    end_of "$writer"
    [ "$code" = 0 ] || fail "the application failed: $code"
}

# A connection that is open and dies without closing: the WAL stays as it is.
hold_open() {
    rm -f "$T/.held"
    python3 -c 'import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT count(*) FROM sqlite_master").fetchone()
open(sys.argv[2], "w").close()
time.sleep(1e6)' "$DB" "$T/.held" &
    holder=$!
    test_pids+=("$holder")
    within 10 test -e "$T/.held"
}
let_go() {
    kill -KILL "$holder"
    wait "$holder" 2>/dev/null || true
}

# start_ship [OPTION]...: in the background
start_ship() {
    zl-walship "$@" "$DB" 2>>"$T/ship.err" &
    ship=$!
    test_pids+=("$ship")
}
kill_ship() {
    kill -KILL "$ship" 2>/dev/null || true
    wait "$ship" 2>/dev/null || true
}
# Everything is in the store when it ends by SIGTERM with 0.
drain_ship() {
    local code=0
    kill -TERM "$ship"
    wait "$ship" || code=$?
    [ "$code" = 0 ] || { tail -5 "$T/ship.err" >&2; fail "zl-walship ended with $code"; }
}
end_of() { # PID: its exit code in $code
    code=0
    wait "$1" 2>/dev/null || code=$?
}
ship_status() { { zl-walship --status --json "$DB" || true; } | jq -r "$1"; }
is_streaming() { [ "$(ship_status .state 2>/dev/null)" = streaming ]; }

# Built with -Dcrash_points=true?
has_crash_points() { grep -aq 'ZL_CRASH_AT' "$ZL_BIN/zl-walship"; }

# restore [OPTION]...: into $T/r.db
restore() {
    rm -f "$T"/r.db*
    zl-restore -o "$T/r.db" "$@" app
}
# The replica gives the database as it is.
check_same() {
    restore --check full
    walwriter check "$DB" "$T/r.db" $([ ! -e "$T/log" ] || echo --log "$T/log") >"$T/check.json" ||
        fail "the replica is not the database: $(cat "$T/check.json")"
}
# Numbers of wal/ are 1..N, without a hole; N in $segments.
check_segments() {
    segments=0
    local n
    for n in $(store_list db/app/wal/ | sed 's/.*\/0*\([0-9]*\)\.wal\.zst$/\1/'); do
        [ "$n" = $((segments + 1)) ] || fail "segment $n follows $segments"
        segments=$n
    done
}
stored_bytes() { store_list db/app/ | awk '{n += $1} END {print n + 0}'; }
# once [OPTION]...: ship all that is there, with no message on success
once() { zl-walship --once "$@" "$DB" 2>>"$T/ship.err"; }
