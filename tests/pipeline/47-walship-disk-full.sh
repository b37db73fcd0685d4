#!/bin/bash
# Goal: a full disk under the cache, or a full store, costs nothing but time: the application goes on,
# the message names the file, and once there is room again all arrives by itself.
source "$(dirname "$0")/../support/lib.sh"
source "$(dirname "$0")/../support/walship.sh"
need_root "mounts small file systems"

app_writes() { # N KIB: N commits of that size, and the application never fails
    for _ in $(seq "$1"); do
        sql "CREATE TABLE IF NOT EXISTS x (y); INSERT INTO x VALUES (randomblob($2 * 1024))"
    done
}
status_of() { { zl-walship --status --json --cache-dir "$cache" "$DB" || true; } | jq -r "$1"; }
says() { grep -q 'no space left' "$T/ship.err"; }
nothing_waits() {
    [ "$(status_of '.pending_segments + .wal_frames_pending')" = 0 ]
}
flush_and_check() {
    timeout 60 zl-walship --flush --cache-dir "$cache" "$DB" || fail "--flush: $?"
    check_same
    drain_ship
}

# More than once: what the shipper has just finished with is freed after it.
fill() {
    for _ in 1 2 3 4; do
        cat /dev/zero >>"$cache/filler" 2>/dev/null || true
        sleep 0.2
    done
}

say "the disk of the cache is full"
new_db
cache=$T/cache
mkdir "$cache"
mount -t tmpfs -o size=4m,mode=700 tmpfs "$cache"
start_ship --sync-interval 100ms --cache-dir "$cache"
within 10 eval '[ "$(status_of .state)" = streaming ]'
fill
app_writes 3 700
within 10 says
expect_grep 'cache' "$T/ship.err"
[ "$(status_of .pending_segments)" = 0 ] || fail "a segment was queued on a full disk"
[ "$(status_of .wal_frames_pending)" -gt 0 ] || fail "nothing waits"
durable=$(status_of .durable_sequence)
rm "$cache/filler"
within 15 nothing_waits
[ "$(status_of .durable_sequence)" -gt "$durable" ] || fail "nothing arrived"
flush_and_check

say "killed while it was full: the next start goes on"
start_ship --sync-interval 100ms --cache-dir "$cache"
within 10 eval '[ "$(status_of .state)" = streaming ]'
fill
: >"$T/ship.err"
app_writes 2 700
within 10 says
kill_ship
rm "$cache/filler"
app_writes 1 10
start_ship --sync-interval 100ms --cache-dir "$cache"
within 10 eval '[ "$(status_of .state)" = streaming ]'
flush_and_check

say "the store is full"
new_db
cache=$DB.zl
: >"$T/ship.err"
mkdir "$T/store"
mount -t tmpfs -o size=3m tmpfs "$T/store"
start_ship --sync-interval 100ms
within 10 is_streaming
for _ in 1 2 3 4 5; do
    app_writes 1 900
    sleep 0.3
done
within 10 says
[ "$(status_of .failed_uploads)" -gt 0 ] || fail "status tells of no failed upload"
[ "$(status_of .lag_ms)" -gt 0 ] || fail "status tells of no lag"
# What is there is whole all the same.
restore --check full
mount -o remount,size=60m "$T/store"
within 30 nothing_waits
flush_and_check
check_segments
