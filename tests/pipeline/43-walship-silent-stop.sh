#!/bin/bash
# Goal: a commit is seen even when size and header of the WAL stay as they were. A transaction that
# spilled into the WAL and was rolled back leaves a long tail; the next commits overwrite it from
# inside. Each must be in the store within two sync intervals, without --flush.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"

rounds=15
[ -z "${ZL_SOAK:-}" ] || rounds=1000

new_db
sqlite3 "$DB" 'CREATE TABLE s (n INTEGER PRIMARY KEY, x)'
start_ship --sync-interval 500ms
within 10 is_streaming

# One connection for all, so that nothing but the transactions touches the WAL. It answers each
# line with one of its own.
coproc app { exec python3 -u -c 'import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
db.execute("PRAGMA cache_size = 5")
wal = sys.argv[1] + "-wal"
def look():
    with open(wal, "rb") as f:
        return os.path.getsize(wal), f.read(32)
for line in sys.stdin:
    n = int(line)
    if n % 100 in (1, 8): # then commits without end fit into the tail that this leaves
        db.execute("BEGIN IMMEDIATE")
        for i in range(1000):
            db.execute("INSERT INTO s (x) VALUES (randomblob(3000))")
        db.execute("ROLLBACK")
    before = look()
    db.execute("INSERT INTO s VALUES (?, ?)", (n, "row %d" % n))
    print("same" if look() == before else "grown")' "$DB"; }
test_pids+=("$app_PID")

# The newest row that a restore gives.
newest_restored() {
    restore
    sqlite3 "$T/r.db" 'SELECT coalesce(max(n), 0) FROM s'
}
durable_is() { [ "$(ship_status .durable_sequence)" -gt "$1" ]; }

unseen=0
for n in $(seq $rounds); do
    before=$(ship_status .durable_sequence)
    echo "$n" >&"${app[1]}"
    read -r look <&"${app[0]}"
    [ "$look" != same ] || unseen=$((unseen + 1))
    within 4 durable_is "$before"
    [ $((n % 5)) != 0 ] || [ "$(newest_restored)" = "$n" ] || fail "row $n is not in the store"
    # A rolled-back row must never be there.
    [ $((n % 5)) != 0 ] || [ "$(sqlite3 "$T/r.db" 'SELECT count(*) FROM s')" = "$n" ] ||
        fail "rows that were never committed are in the store"
done
[ "$unseen" -ge $((rounds * 2 / 3)) ] || fail "the WAL grew: nothing was proved ($unseen of $rounds)"

say "killed without warning, the last commit is there"
kill_ship
[ "$(newest_restored)" = "$rounds" ] || fail "the last commit is lost"
exec {app[1]}>&-
wait "$app_PID" || true
once
check_same
