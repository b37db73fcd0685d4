#!/bin/bash
# swift-up.sh DIR [PORT=7680]  -- starts the second, independent S3 server: OpenStack Swift with
# s3api, one replica in one directory (user xattrs needed), as plain processes on the loopback.
# Ports PORT..PORT+4. Prints ENDPOINT=, ACCESS_KEY=, SECRET_KEY=. Stopped by server-down.sh DIR.
set -eu
mkdir -p "$1"
dir=$(cd "$1" && pwd)
port=${2:-7680}
etc=$dir/etc
[ ! -e "$etc" ] || { echo "swift-up: $dir is in use or left over; remove it first" >&2; exit 73; }
mkdir -p "$etc" "$dir"/{log,recon,node/d1}
servers="account:$((port + 3)) container:$((port + 2)) object:$((port + 1))"
common="swift_dir = $etc
user = $(id -un)
bind_ip = 127.0.0.1
log_level = WARNING
log_name = swift
devices = $dir/node
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
workers = 2"

cat >"$etc/swift.conf" <<X
[swift-hash]
swift_hash_path_suffix = zl
swift_hash_path_prefix = zl
[storage-policy:0]
name = Policy-0
default = yes
[swift-constraints]
max_file_size = 5368709122
max_object_name_length = 1024
max_meta_value_length = 2048
X
for server in $servers; do
    name=${server%:*}
    cat >"$etc/$name-server.conf" <<X
[DEFAULT]
$common
bind_port = ${server#*:}
[pipeline:main]
pipeline = $name-server
[app:$name-server]
use = egg:swift#$name
recon_cache_path = $dir/recon
X
done
filters="catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo"
{
    cat <<X
[DEFAULT]
$common
bind_port = $port
[pipeline:main]
pipeline = $filters versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$((port + 4))
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
storage_domain = localhost
dns_compliant_bucket_names = false
max_upload_part_num = 10000
min_segment_size = ${SWIFT_MIN_PART:-5242880}
allow_multipart_uploads = true
X
    for filter in catch_errors gatekeeper healthcheck listing_formats bulk copy slo dlo symlink; do
        printf '[filter:%s]\nuse = egg:swift#%s\n' "$filter" "$filter"
    done
} >"$etc/proxy-server.conf"

cd "$etc"
for server in $servers; do
    name=${server%:*}
    swift-ring-builder "$name.builder" create 3 1 0
    swift-ring-builder "$name.builder" add "r1z1-127.0.0.1:${server#*:}/d1" 1
    swift-ring-builder "$name.builder" rebalance
done >"$dir/log/ring.out"

: >"$dir/pids"
spawn() { # NAME COMMAND...
    local name=$1
    shift
    setsid "$@" </dev/null >>"$dir/log/$name.out" 2>&1 &
    echo "$name $!" >>"$dir/pids"
}
# s3api answers 500 without memcached. Swift needs Debian's own python3.
spawn memcached memcached -u "$(id -un)" -l 127.0.0.1 -p $((port + 4)) -U 0 -m 64
for name in account container object proxy; do
    spawn "$name" /usr/bin/python3 "/usr/bin/swift-$name-server" "$etc/$name-server.conf"
done
for _ in $(seq 1 600); do
    up=1
    [ "$(curl -s "http://127.0.0.1:$port/healthcheck")" = OK ] || up=0
    for server in $servers; do
        curl -s -o /dev/null "http://127.0.0.1:${server#*:}/" || up=0
    done
    [ $up = 1 ] && break
    sleep 0.1
done
[ "${up:-0}" = 1 ] || { echo "swift-up: not up; see $dir/log" >&2; exit 1; }
echo "ENDPOINT=http://127.0.0.1:$port"
echo "ACCESS_KEY=test:tester"
echo "SECRET_KEY=testing"
