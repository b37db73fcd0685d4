#!/bin/bash
# rgw-up.sh DIR [PORT=7480]  -- starts a real S3 server: Ceph's radosgw over one monitor and one
# in-memory OSD, as plain processes on the loopback. State, logs and pids are in DIR (a short name:
# unix sockets live there). Ports: PORT, PORT+10000 and PORT+11000..PORT+11099.
# RGW_MIN_PART=BYTES lowers the 5 MiB part limit. Prints ENDPOINT=, ACCESS_KEY=, SECRET_KEY= (the same
# for both users) and LIMITED_ACCESS_KEY=.
set -eu
mkdir -p "$1"
dir=$(cd "$1" && pwd)
port=${2:-7480}
monitor=$((port + 10000))
access_key=TESTACCESSKEY0000001
limited_access_key=TESTACCESSKEY0000002
secret_key=TestSecretKey00000000000000000000000001
[ ! -e "$dir/ceph.conf" ] || {
    echo "rgw-up: $dir is in use or left over; remove it first" >&2
    exit 73
}
mkdir -p "$dir"/{mon,osd0,rgw,run,log,crash}
export CEPH_CONF=$dir/ceph.conf CEPH_ARGS=

# auth must be cephx: radosgw cannot start with "none". tcp_nodelay: small GETs take 45 ms without.
cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$monitor/0]
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = $dir/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind port min = $((port + 11000))
ms bind port max = $((port + 11099))
ms bind msgr1 = false
run dir = $dir/run
admin socket = $dir/run/\$name.asok
pid file =
log file = $dir/log/\$name.log
log to stderr = false
err to stderr = true
crash dir = $dir/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon osd reporter subtree level = osd
paxos propose interval = 0.05
debug ms = 0
debug paxos = 0
debug rocksdb = 0
debug osd = 0
[mon]
mon data = $dir/mon
mon data avail warn = 1
mon data avail crit = 1
mon cluster log file = $dir/log/cluster.log
[osd]
keyring = $dir/keyring
osd data = $dir/osd0
osd objectstore = memstore
memstore device bytes = $((20 << 30))
osd max object name len = 2048
mon osd full ratio = .99
[client.rgw]
keyring = $dir/keyring
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw dns name = localhost
rgw thread pool size = 64
rgw enable usage log = false
rgw multipart min part size = ${RGW_MIN_PART:-5242880}
rgw run sync thread = false
rgw dynamic resharding = false
debug rgw = 1
CONF

: >"$dir/pids"
spawn() { # NAME COMMAND...
    local name=$1
    shift
    setsid "$@" </dev/null >>"$dir/log/$name.out" 2>&1 &
    echo "$name $!" >>"$dir/pids"
}
key() { # ENTITY CAP...
    ceph-authtool "$dir/keyring" --gen-key -n "$@" >/dev/null
}
ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
key client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
key client.rgw --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
key osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' --cap mgr 'allow profile osd'
fsid=$(awk '$1 == "fsid" {print $3}' "$dir/ceph.conf")
monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor/0]" \
    "$dir/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring" >>"$dir/log/mkfs.out" 2>&1
spawn mon ceph-mon -f -i a
osd_id=$(cat /proc/sys/kernel/random/uuid)
ceph -c "$dir/ceph.conf" --connect-timeout 60 osd new "$osd_id" 0 >>"$dir/log/mkfs.out" 2>&1
ceph-osd -i 0 --mkfs --osd-uuid "$osd_id" >>"$dir/log/mkfs.out" 2>&1
spawn osd0 ceph-osd -f -i 0
spawn rgw radosgw -f -n client.rgw -i rgw
for _ in $(seq 1 900); do
    curl -s -o /dev/null "http://127.0.0.1:$port/" && up=1 && break
    kill -0 "$(awk '$1 == "rgw" {print $2}' "$dir/pids")" 2>/dev/null || break
    sleep 0.1
done
[ "${up:-0}" = 1 ] || { echo "rgw-up: radosgw did not come up; see $dir/log" >&2; exit 1; }
# `test` owns the buckets; `limited` may do what their policies let it.
make_user() { # NAME ACCESS_KEY
    radosgw-admin --admin-socket= -c "$dir/ceph.conf" -n client.rgw user create --uid="$1" \
        --display-name="$1" --access-key="$2" --secret-key="$secret_key" \
        >>"$dir/user.json" 2>>"$dir/log/admin.out"
}
make_user test "$access_key"
make_user limited "$limited_access_key"
echo "ENDPOINT=http://127.0.0.1:$port"
echo "ACCESS_KEY=$access_key"
echo "SECRET_KEY=$secret_key"
echo "LIMITED_ACCESS_KEY=$limited_access_key"
