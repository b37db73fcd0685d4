#!/bin/bash
# package.sh deb|tarball [DIR]  -- makes something that can be installed, in DIR (default: ./build-package)
#   deb      zl-tools_VERSION_ARCH.deb for the Debian that this runs on, with dpkg-buildpackage
#   tarball  zl-VERSION-linux-ARCH.tar.xz: bin/ and, in lib/zl/, the libraries it needs; runs on any Linux with a
#            glibc as new as this machine's, and needs nothing else of it but CA certificates
# Works on a copy of the sources; needs no network, and as root nothing. Prints the path of the result.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
what=${1:-}
out=$(realpath -m "${2:-build-package}")

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "$top/scripts/package.sh"
    exit "$1"
}
case $what in
deb | tarball) ;;
-h | --help) usage 0 ;;
*) usage 64 >&2 ;;
esac

needs() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null && return
    echo "package.sh: $1 is not installed" >&2
    echo "hint: scripts/install-deps.sh build; apt-get install $2" >&2
    exit 78
}
needs meson meson
[ "$what" != deb ] || { needs dpkg-buildpackage dpkg-dev && needs dh debhelper; }
[ "$what" != tarball ] || needs xz xz-utils

work=$(mktemp -d "${TMPDIR:-/tmp}/zl-package.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/zl" "$out"
tar -c --exclude='./build*' --exclude=./.git . | tar -x -C "$work/zl"
cd "$work/zl"
# quietly COMMAND...: what it prints is shown if it fails
quietly() {
    "$@" >"$work/log" 2>&1 || {
        tail -40 "$work/log" | cut -c1-300 >&2
        echo "package.sh: failed: $*" >&2
        exit 1
    }
}

make_deb() {
    quietly dpkg-buildpackage -us -uc -b
    mv "$work"/*.{deb,changes,buildinfo} "$out"
    ls "$out"/zl-tools_*.deb
}

make_tarball() {
    local version name
    version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
    name=zl-$version-linux-$(uname -m)
    # DT_RPATH, not DT_RUNPATH: it holds for what the libraries need as well. $ORIGIN is found by way
    # of /proc, which every container has.
    quietly meson setup build --prefix=/ --libdir=lib --buildtype=debugoptimized --strip \
        -Dtests=false -Dstatic_libarchive=true \
        -Dcpp_link_args='-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib/zl'
    quietly ninja -C build
    quietly meson install -C build --no-rebuild --destdir "$work/$name"
    carry_libraries "$work/$name"
    cp -r LICENSE README.md recipes "$work/$name"
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -cJf "$out/$name.tar.xz" "$name"
    ls "$out/$name.tar.xz"
}
# What the programs need beside the C library, which has to be the system's: it loads by itself what
# the system's nsswitch.conf names. With the terms under which each library may be passed on.
carry_libraries() {
    local library package
    mkdir -p "$1/lib/zl" "$1/share/licenses"
    ldd "$1"/bin/* | awk '$2 == "=>" {print $3}' | sort -u >"$work/libraries"
    while read -r library; do
        [[ $library =~ /(libc|libm|libresolv|libpthread|libdl|librt)\.so ]] && continue
        install -m 644 -t "$1/lib/zl" "$library"
        # Debian's packages name /usr/lib or /lib, whichever the linker prints.
        package=$(dpkg-query -S "*/${library##*/}" | head -1 | cut -d: -f1)
        install -m 644 "/usr/share/doc/$package/copyright" "$1/share/licenses/$package"
    done <"$work/libraries"
    install -m 644 /usr/share/doc/libarchive-dev/copyright "$1/share/licenses/libarchive" # linked in
}

make_"$what"
