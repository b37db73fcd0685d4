#!/bin/bash
# Goal: an outage of the store never blocks or harms the application, and nothing is lost: the cache
# fills up to its limit, then the WAL is the spool; afterwards everything arrives. With --max-wal the
# WAL is let go in time, the gap is marked, and the latest state arrives. Then a store that is faulty.
# ZL_SOAK=1: ten minutes of outage.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
use_proxy
outage=15 rate=150
[ -z "${ZL_SOAK:-}" ] || outage=600

down() { rules '[{"action": "reset_before", "count": -1}]'; }
up() { rules '[]'; }
status() { ship_status "$1"; }
is() { [ "$(status "$1")" = "$2" ]; }
check() { # what is restored now equals the source, with all that was acknowledged
    zl-walship --flush "$T/app.db" || fail "flush: $(cat "$T/ship.err")"
    restore
    walwriter check "$T/app.db" "$T/r.db" --log "$T/log" >"$T/check.json" ||
        fail "$1: $(cat "$T/check.json")"
}

say "an outage: the cache stays small, commits stay fast, all arrives afterwards"
new_db
start_ship --sync-interval 50ms --max-cache-size 2MiB --retry-for 2s
within 20 zl-walship -q --flush "$T/app.db"
walwriter write "$T/app.db" --rate $rate --seconds $((outage + 10)) --size 2000 --log "$T/log" >"$T/writer.json" &
writer=$!
sleep 2
down
sleep $outage
[ "$(status .pending_bytes)" -lt $((4 << 20)) ] || fail "the cache grew: $(status .)"
[ "$(status .failed_uploads)" -ge 1 ]
[ "$(status .lag_ms)" -ge 5000 ] || fail "lag: $(status .)"
expect_exit 1 zl-walship --status --max-lag 1s "$T/app.db"
up
wait $writer
# Not a benchmark: a commit that waited for the store would take as long as the outage. In ten
# minutes a busy machine's disk may well take seconds for one.
[ "$(jq ".max_ms < 2000 + $outage * 10" "$T/writer.json")" = true ] || fail "commits: $(cat "$T/writer.json")"
check "after the outage"
is .pending_segments 0
drain_ship

say "a cache of 1 MiB and an outage: the WAL is the spool, status says so"
start_ship --sync-interval 20ms --max-cache-size 1MiB --retry-for 2s --max-wal none
within 20 zl-walship -q --flush "$T/app.db"
down
walwriter write "$T/app.db" --rate 300 --seconds 12 --size 9000 --log "$T/log" >"$T/writer.json" &
writer=$!
within 12 is .state backpressure
wait $writer
[ "$(status .wal_frames_pending)" -gt 100 ] || fail "WAL: $(status .)"
up
within 60 is .state streaming
check "after backpressure"
drain_ship

say "--max-wal: the WAL is let go, the gap is marked, the latest state arrives"
start_ship --sync-interval 20ms --max-cache-size 1MiB --retry-for 2s --max-wal 4MiB
within 20 zl-walship -q --flush "$T/app.db"
down
walwriter write "$T/app.db" --rate 300 --seconds 12 --size 9000 --log "$T/log" >"$T/writer.json" &
writer=$!
within 15 is .state gap
[ "$(status .gap_from)" != null ]
wait $writer
sqlite3 "$T/app.db" 'PRAGMA wal_checkpoint(TRUNCATE)' | grep -q '^0|' || fail "the WAL is still held"
up
within 60 is .state streaming
check "after the gap"
zl-restore --list app >"$T/list"
grep -qi gap "$T/list" ||
    fail "no gap in the list: $(cat "$T/list")"
drain_ship

say "a faulty store: errors, resets, lost replies, cut bodies"
rules '[{"action": "status", "status": 503, "prob": 0.05, "count": -1},
        {"action": "lose_response", "method": "PUT", "prob": 0.05, "count": -1},
        {"action": "reset_after_req_bytes", "bytes": 500, "prob": 0.05, "count": -1},
        {"action": "truncate_response", "method": "GET", "bytes": 100, "rst": true, "prob": 0.05, "count": -1}]'
start_ship --sync-interval 20ms --snapshot-interval 2s --retry-for 5s
walwriter write "$T/app.db" --rate 100 --seconds 10 --log "$T/log" >"$T/writer.json"
up
check "after faults"
drain_ship
[ "$(log_count '.action != null')" -ge 20 ] || fail "few faults"
