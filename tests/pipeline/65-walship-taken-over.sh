#!/bin/bash
# Goal: a writer that another took over from does not put its own metadata.json back when it ends.
# Steps: A ships and is idle; B takes the name over; A is stopped. What names the newest snapshot is B's.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
new_db 'CREATE TABLE t1 (a); INSERT INTO t1 VALUES (1)'
start_ship --sync-interval 50ms
within 10 is_streaming
zl-walship --flush "$DB"
mkdir "$T/b"
sqlite3 "$T/b/app.db" 'PRAGMA journal_mode = wal; CREATE TABLE t2 (b); INSERT INTO t2 VALUES (2)' \
    >"$T/.mode"
zl-walship --once --take-over "$T/b/app.db"
named() { jq -r '[.latest_snapshot, .generation, .writer, .released] | @text' \
    "$T/store/db/app/metadata.json"; }
now=$(named)
kill -TERM "$ship"
end_of "$ship"
[ "$(named)" = "$now" ] || fail "it was: $now, the former writer made it: $(named)"
[ "$code" = 0 ] || [ "$code" = 76 ] || fail "it ended with $code"
restore
[ "$(sqlite3 "$T/r.db" 'SELECT b FROM t2')" = 2 ]
