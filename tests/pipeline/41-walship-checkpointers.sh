#!/bin/bash
# Goal: others checkpoint the database as hard as they can, in every mode, while many write; the
# replica is right at each moment, the application's database stays whole, and its commits fast.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"

seconds=15
[ -z "${ZL_SOAK:-}" ] || seconds=600

new_db
sqlite3 "$DB" >/dev/null 'CREATE TABLE t (id INTEGER PRIMARY KEY, ns INTEGER, data BLOB, sha TEXT)' \
    'CREATE TABLE tally (one INTEGER PRIMARY KEY, n INTEGER)' 'CREATE INDEX by_sha ON t (sha)' \
    'INSERT INTO tally VALUES (1, 0)'
start_ship --sync-interval 100ms --snapshot-interval 5s
within 10 is_streaming
resyncs=$(ship_status .resyncs)

others=()
for i in 1 2 3 4; do
    extra=()
    [ $i != 4 ] || extra=(--big --size 5000 --rate 2)
    [ $i != 3 ] || extra=(--size 9000 --rate 20)
    python3 "$support/walwriter.py" write "$DB" --log "$T/log.$i" --rate 50 "${extra[@]}" \
        >"$T/writer.$i.json" &
    others+=($!)
done
for i in 1 2; do
    python3 "$support/walwriter.py" checkpoint "$DB" --mode all --every 1 >"$T/checkpoint.$i.json" &
    others+=($!)
done
test_pids+=("${others[@]}")

logs=()
for i in 1 2 3 4; do logs+=(--log "$T/before.$i"); done
checks=0
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
    sleep 2
    for i in 1 2 3 4; do cp "$T/log.$i" "$T/before.$i"; done
    timeout 60 zl-walship --flush "$DB" || fail "--flush: $?"
    restore
    walwriter check - "$T/r.db" "${logs[@]}" --until 2999-01-01T00:00:00Z >"$T/check.json" ||
        fail "while others checkpoint: $(cat "$T/check.json")"
    checks=$((checks + 1))
done
[ $checks -ge 2 ] || fail "only $checks checks"

for pid in "${others[@]}"; do kill -TERM "$pid"; done
for pid in "${others[@]}"; do
    end_of "$pid"
    [ "$code" = 0 ] || fail "a writer or checkpointer failed: $code"
done
[ "$(ship_status .resyncs)" = "$resyncs" ] || fail "continuity was lost under our read lock"
drain_ship
cat "$T"/log.* >"$T/log"
check_same
check_segments
say "$checks checks, $segments segments, $(jq .rows "$T/check.json") rows"
cat "$T"/writer.*.json "$T"/checkpoint.*.json
jq -es 'all(.commits > 5)' "$T"/writer.*.json >/dev/null || fail "a writer was starved"
jq -es 'all(.checkpoints > 50)' "$T"/checkpoint.*.json >/dev/null || fail "no hard checkpointing"
