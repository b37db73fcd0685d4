#!/bin/bash
# Goal: without room it is 74, says how much is needed and leaves nothing.
. "$(dirname "$0")/../support/lib.sh"
need_root "mounts a small file system"

db=$T/app.db
sqlite3 "$db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);
    INSERT INTO t(v) SELECT randomblob(3000) FROM generate_series(1, 2000)' >/dev/null
zl-walship --once "$db"
sqlite3 "$db" 'UPDATE t SET v = randomblob(3000) WHERE id % 3 = 0' >/dev/null
zl-walship --once "$db"
mkdir "$T/small"
say "less than it takes, by far and by little"
for size in 64k 1m 2m 4m 7m 9m; do
    mount -t tmpfs -o size=$size none "$T/small"
    expect_exit 74 zl-restore -o "$T/small/app.db" app
    expect_grep 'no space left on device' "$ERR"
    [ $size = 64k ] || expect_grep '[0-9.]+ MiB are needed' "$ERR"
    [ -z "$(ls -A "$T/small")" ] || fail "$size: left $(ls -A "$T/small")"
    umount "$T/small"
done
say "-o - needs room in TMPDIR"
mount -t tmpfs -o size=20m none "$T/small"
zl-restore -o "$T/small/app.db" app
TMPDIR=$T/small expect_exit 0 zl-restore -o - app
cmp "$OUT" "$T/small/app.db"
rm "$T/small/app.db"
head -c 15M /dev/zero >"$T/small/fill"
TMPDIR=$T/small expect_exit 74 zl-restore -o - app
expect_empty "$OUT"
[ "$(ls -A "$T/small")" = fill ]
