#!/bin/bash
# install-deps.sh [build|test]  -- installs the Debian 12 packages that zl needs
#   build (default)  compilers and libraries
#   test             also the tools that tests compare with, and two real S3 servers
# Needs root or sudo unless everything is there already. Starts no service.
set -euo pipefail
what=${1:-build}

packages=(meson ninja-build g++ pkg-config ca-certificates scdoc libcli11-dev libcurl4-openssl-dev
    libssl-dev libsqlite3-dev libzstd-dev libarchive-dev nlohmann-json3-dev libpugixml-dev libxxhash-dev
    doctest-dev sqlite3 zstd)
case $what in
build) ;;
test)
    packages+=(libarchive-tools acl attr libcap2-bin python3 curl jq strace faketime umoci skopeo time
        procps util-linux mandoc e2fsprogs xz-utils
        ceph-mon ceph-osd radosgw ceph-common
        swift-proxy swift-account swift-container swift-object memcached
        bash-completion fish zsh age python3-yaml systemd)
    ;;
*)
    echo "usage: install-deps.sh [build|test]" >&2
    exit 64
    ;;
esac

installed=" $(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null |
    awk '$1 == "ii" {print $2}' | tr '\n' ' ')"
missing=()
for package in "${packages[@]}"; do
    [[ $installed == *" $package "* ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || {
    echo "install-deps: not a Debian system; needed are: ${missing[*]}" >&2
    exit 78
}
as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "install-deps: neither root nor sudo; ask an administrator to install: ${missing[*]}" >&2
        exit 77
    }
    as_root=(sudo)
fi

# Packages of servers would start them.
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
    "${as_root[@]}" chmod 755 $policy
    # shellcheck disable=SC2064
    trap "${as_root[*]} rm -f $policy" EXIT
fi

log=$(mktemp)
install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get install -y -q \
        --no-install-recommends "${missing[@]}" </dev/null >"$log" 2>&1
}
echo "installing ${#missing[@]} packages: ${missing[*]}"
# The package lists of a fresh container are empty, those of an old machine are stale: only then
# is an update worth its time.
install || { "${as_root[@]}" apt-get update -q </dev/null >"$log" 2>&1 && install; } || {
    tail -20 "$log" >&2
    echo "install-deps: apt-get failed; the whole output is in $log" >&2
    exit 75
}
rm -f "$log"
