#!/bin/bash
# Goal: whenever zl-walship is killed, nothing that was committed is lost, nothing is there twice, and
# the application goes on. Steps: a writer works on and on; the shipper is killed again and again, at
# any time and at each of its crash points; now and then the replica is restored and checked.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"

kills=20 rate=200
[ -z "${ZL_SOAK:-}" ] || kills=200 rate=500

# Everything that was acknowledged before now is in what is restored now, and no row is torn.
check_now() {
    cp "$T/log" "$T/log.before"
    once --retry-for 10s
    restore
    walwriter check - "$T/r.db" --log "$T/log.before" --until 2999-01-01T00:00:00Z >"$T/check.json" ||
        fail "after a kill: $(cat "$T/check.json")"
}

say "killed at any time ($kills times)"
new_db
start_writer --rate $rate
for i in $(seq $kills); do
    start_ship --sync-interval 100ms --snapshot-interval 3s
    sleep "$(awk -v s="$RANDOM" 'BEGIN {print s / 32768 * 1.2}')"
    kill_ship
    [ $((i % 5)) != 0 ] || check_now
done

say "killed at each crash point"
points=$(grep -aoE '(ship|snapshot|metadata|keep)\.[a-z][a-z-]+[a-z]' "$ZL_BIN/zl-walship" | sort -u | grep -vE '^ship\.(err|conf)$')
hit=0
if has_crash_points; then
    for point in $points; do
        for nth in 1 3; do
            ZL_CRASH_AT=$point:$nth start_ship --sync-interval 50ms --snapshot-interval 1s
            for _ in $(seq 40); do
                kill -0 "$ship" 2>/dev/null || break
                sleep 0.05
            done
            kill -0 "$ship" 2>/dev/null || { hit=$((hit + 1)) && echo "   $point:$nth"; }
            kill_ship
        done
        check_now
    done
    [ "$hit" -ge 6 ] || fail "only $hit crash points were reached"
else
    echo "   (not built with crash points)"
fi

say "the end: the writer stops, the shipper drains, the replica is the database"
start_ship --sync-interval 100ms
within 10 is_streaming
stop_writer
drain_ship
check_same
check_segments
say "$(jq -c . "$T/writer.json"), $segments segments, $(jq .rows "$T/check.json") rows"
[ "$(jq .commits "$T/writer.json")" -gt 500 ] || fail "the application hardly worked"
jq -e '.p99_ms < 500' "$T/writer.json" >/dev/null || fail "the application was held up"
# Every start proved where it stood: none compared all pages or began a new generation.
[ "$(jq '.generations | length' "$T/store/db/app/metadata.json")" = 1 ] || fail "a new generation"
expect_empty "$T/ship.err"
