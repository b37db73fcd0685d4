#!/bin/bash
# Goal: a long outage on a small file system: the application never sees "database or disk is full"
# because of us. Cache and WAL share its 40 MiB; they are let go in time, and afterwards the newest state
# arrives. A disk that is just always nearly full is no reason to lose moments while the store works, slowly.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
need_root "mounts a small file system"
use_proxy

mkdir "$T/small"
mount -t tmpfs -o size=40M none "$T/small"
DB=$T/small/app.db
new_db
sqlite3 "$DB" 'CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);
    WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<200) INSERT INTO t SELECT x, randomblob(3000) FROM c'
# Requests are retried for ten minutes before they count as failed: nobody may wait for that here.
start_ship --sync-interval 20ms
within 20 zl-walship -q --flush "$DB"
rules '[{"action": "reset_before", "count": -1}]'

say "updates of 150 MiB in all, while nothing gets through"
python3 - "$DB" <<'PY'
import os
import sqlite3
import sys
import time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
end = time.time() + 40
for n in range(50000):
    db.execute('UPDATE t SET v = ? WHERE id = ?', (os.urandom(3000), n % 200 + 1))
    time.sleep(0.0005)
    if time.time() > end:
        break
print(n, 'commits')
PY
[ "$(ship_status .state)" = gap ] || fail "state: $(ship_status .)"
df --output=avail -BM "$T/small" | tail -1
rules '[]'
within 60 is_streaming
zl-walship --flush "$DB"
restore
[ "$(sqlite3 "$DB" .dump | sha256sum)" = "$(sqlite3 "$T/r.db" .dump | sha256sum)" ] || fail "the replica differs"
drain_ship

say "a disk that is nine tenths full, and a store that takes 5 s for each segment"
mount -o remount,size=300M "$T/small"
fallocate -l 272M "$T/small/other"
new_db 'CREATE TABLE t(v)'
ZL_STORE=${ZL_STORE/$s3_root/$s3_root-x}
rm -f "$T/ship.err"
start_ship --sync-interval 20ms
within 20 zl-walship -q --flush "$DB"
rules '[{"action": "latency", "method": "PUT", "seconds": 5, "count": -1}]'
for _ in $(seq 6); do
    sql 'INSERT INTO t VALUES (randomblob(1024 * 1024))'
    sleep 1
    [ "$(ship_status .state)" != gap ] || fail "moments are lost: $(cat "$T/ship.err")"
done
[ "$(ship_status .pending_bytes)" -gt $((4 << 20)) ] || fail "the store was too fast: $(ship_status .)"
rules '[]'
within 30 eval '[ "$(ship_status .pending_segments)" = 0 ]'
expect_no_grep 'letting go of' "$T/ship.err"
[ "$(ship_status .resyncs)" = 0 ] || fail "$(ship_status .)"
drain_ship
