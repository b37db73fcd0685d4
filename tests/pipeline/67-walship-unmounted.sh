#!/bin/bash
# Goal: the disk of a directory store is unmounted below a shipper: nothing is written to what is there in its
# place, nothing counts as stored, and all of it arrives when the disk is back.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/walship.sh"
need_root "mounts"
is_retrying() { [ "$(ship_status .state)" = retrying ]; }
mkdir "$T/disk"
new_db 'CREATE TABLE t1 (a)'
mkdir "$T/store"
mount --bind "$T/disk" "$T/store"
start_ship --sync-interval 50ms
within 10 is_streaming
write_rows 20
expect_exit 0 zl-walship --flush "$DB"

say "unmounted: told, and nothing counts as stored"
within 10 umount "$T/store"
write_rows 100
within 10 is_retrying
zl-walship --status "$DB" >"$T/status" || true
expect_grep 'the directory store .*/store is not the one that it was at first' "$T/status"
expect_exit 75 zl-walship --flush --timeout 300ms "$DB"
[ -z "$(ls -A "$T/store")" ] || fail "written below the mount point: $(ls -A "$T/store")"
[ "$(ship_status .pending_segments)" -gt 0 ]
say "mounted again: it goes on"
mount --bind "$T/disk" "$T/store"
within 40 is_streaming
expect_exit 0 zl-walship --flush "$DB"
check_segments
check_same

say "moved to a larger disk in the meantime: the same"
within 10 umount "$T/store"
cp -a "$T/disk" "$T/larger"
mount --bind "$T/larger" "$T/store"
write_rows 20
expect_exit 0 zl-walship --flush "$DB"
check_same
within 10 umount "$T/store"

say "a host that boots without the disk does not begin a replica on it"
kill_ship
expect_exit 65 zl-walship --once "$DB"
expect_grep 'a missing mount or another bucket looks like that' "$ERR"
