#!/bin/bash
# Goal: a store that refuses, cuts, loses replies and is slow costs time, never data. Steps: a writer
# works on, every tenth request to the store goes wrong in one of six ways, the shipper is killed now
# and then; restores through the same faults give what was committed, or a clear error.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"

seconds=20
[ -z "${ZL_SOAK:-}" ] || seconds=600

use_proxy
new_db
faults='[
  {"action": "lose_response", "method": "PUT", "count": -1, "prob": 0.05},
  {"action": "status", "status": 503, "code": "SlowDown", "count": -1, "prob": 0.03},
  {"action": "status", "status": 500, "code": "InternalError", "count": -1, "prob": 0.02},
  {"action": "reset_before", "count": -1, "prob": 0.02},
  {"action": "reset_after_req_bytes", "method": "PUT", "bytes": 700, "count": -1, "prob": 0.02},
  {"action": "truncate_response", "method": "GET", "bytes": 300, "count": -1, "prob": 0.03},
  {"action": "latency", "seconds": 0.3, "count": -1, "prob": 0.05}]'
start_writer --rate 200
checks=0
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
    rules "$faults"
    start_ship --sync-interval 100ms --snapshot-interval 4s
    sleep 3
    cp "$T/log" "$T/log.before"
    timeout 100 zl-walship --flush "$DB" || fail "--flush: $?"
    restore # through the same faults
    walwriter check - "$T/r.db" --log "$T/log.before" --until 2999-01-01T00:00:00Z >"$T/check.json" ||
        fail "with a faulty store: $(cat "$T/check.json")"
    checks=$((checks + 1))
    kill_ship
done
[ "$(log_count '.action == "lose_response"')" -ge 1 ] || fail "no reply was lost"
[ "$(log_count '.action != null')" -ge 10 ] || fail "hardly any fault"
say "$checks checks, $(log_count '.action != null') faults in $(log_count true) requests"

start_ship --sync-interval 100ms
within 30 is_streaming
stop_writer
rules '[]'
drain_ship
check_same
check_segments
