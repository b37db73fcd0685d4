#!/bin/bash
# Goal: a WAL larger than cache and --max-wal together is shipped whole when the store works: no gap,
# and --once ends.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
new_db 'CREATE TABLE t1 (a)'
python3 - "$DB" "$T" <<'P' &
import os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('PRAGMA wal_autocheckpoint = 0')
db.execute('INSERT INTO t1 VALUES (0)')
open(sys.argv[2] + '/ready', 'w').close()
while not os.path.exists(sys.argv[2] + '/go'):
    time.sleep(0.05)
for i in range(40):
    db.execute('INSERT INTO t1 VALUES (?)', (os.urandom(1 << 20),))
open(sys.argv[2] + '/done', 'w').close()
time.sleep(1e6)
P
test_pids+=($!)
within 10 test -e "$T/ready"
once
touch "$T/go"
within 20 test -e "$T/done"
expect_exit 0 timeout 20 zl-walship --once --max-cache-size 1MiB --max-wal 2MiB "$DB"
restore --check full
[ "$(sqlite3 "$T/r.db" 'SELECT count(*), sum(length(a)) FROM t1')" = "$(sql \
    'SELECT count(*), sum(length(a)) FROM t1')" ]
zl-restore --list app >"$T/list"
expect_no_grep gap "$T/list"
