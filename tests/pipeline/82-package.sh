#!/bin/bash
# Goal: the Debian package and the tarball of scripts/package.sh. Always: what can be said without building
# them. With ZL_SOAK=1 they are built (minutes), looked through and used.
. "$(dirname "$0")/../support/lib.sh"

top=$(realpath "$support/../..")
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" "$top/meson.build")
tools=$(grep -oE "'zl-[a-z]+'" "$top/tools/meson.build" | tr -d "'")
unset "${!DEB_@}"

say "the package's description agrees with the sources"
cd "$top"
[ "$(sed -n '1s/^zl (\(.*\)) .*/\1/p' debian/changelog)" = "$version" ] || fail "debian/changelog is not of $version"
# What install-deps.sh installs to build is what the package builds with, but for what is always there,
# what only tests and the quickstart need, and what fetches.
sed -n '/^Build-Depends:/,/^[A-Z]/p' debian/control | sed -nE 's/^ ([a-z0-9-]+)[,: ].*/\1/p' |
    grep -vxE 'debhelper-compat|python3' | sort >"$T/control"
sed -n '/^packages=(/,/)/p' scripts/install-deps.sh | tr -d '()' | sed 's/packages=//' | tr -s ' ' '\n' |
    grep -vxE '|g\+\+|ninja-build|ca-certificates|doctest-dev|sqlite3|zstd' | sed 's/^pkg-config$/pkgconf/' |
    sort >"$T/deps"
diff "$T/control" "$T/deps" >"$T/diff" || fail "debian/control (<), install-deps.sh (>): $(cat "$T/diff")"

say "the package's own test, with these programs"
expect_exit 0 bash debian/tests/first-ten-minutes
[ "$(tail -1 "$OUT")" = "-- all is well" ]
awk '/^Tests:/ {print $2}' debian/tests/control | while read -r name; do
    [ -x "debian/tests/$name" ] && bash -n "debian/tests/$name" || fail "debian/tests/$name"
done

say "package.sh: usage"
expect_exit 0 scripts/package.sh --help
expect_grep '^package.sh deb' "$OUT"
expect_exit 64 scripts/package.sh
expect_exit 64 scripts/package.sh rpm
[ -n "${ZL_SOAK:-}" ] || exit 0

before=$(git status --porcelain 2>/dev/null || true)
say "deb: built, lintian has nothing to say, it has everything"
expect_exit 0 scripts/package.sh deb "$T/deb"
deb=$(cat "$OUT")
size=$(stat -c %s "$deb")
echo "   $size bytes"
[ "$size" -lt 3000000 ] || fail "it has grown"
expect_exit 0 lintian --allow-root --fail-on error,warning,info -I "$T"/deb/*.changes
expect_empty "$OUT"
dpkg-deb -x "$deb" "$T/root"
for tool in $tools; do
    [ -x "$T/root/usr/bin/$tool" ] && [ -s "$T/root/usr/share/man/man1/$tool.1.gz" ] || fail "$tool"
    [ -s "$T/root/usr/share/bash-completion/completions/$tool" ] || fail "no completion of $tool"
done
for unit in recipes/systemd/*; do
    [ -s "$T/root/lib/systemd/system/${unit##*/}" ] || fail "no ${unit##*/}"
done
dpkg-deb -e "$deb" "$T/control.d"
[ -z "$(ls "$T/control.d" | grep -vE '^(control|md5sums)$')" ] || fail "it does something when it is installed"
PATH=$T/root/usr/bin:$PATH expect_exit 0 bash debian/tests/first-ten-minutes

say "tarball: runs where there is nothing but a C library"
expect_exit 0 scripts/package.sh tarball "$T/tar"
tarball=$(cat "$OUT")
size=$(stat -c %s "$tarball")
echo "   $size bytes"
[ "$size" -lt 20000000 ] || fail "it has grown"
mkdir -p "$T/bare/lib64" "$T/bare/zl" "$T/bare/proc"
tar -xf "$tarball" -C "$T/bare/zl" --strip-components=1
for path in $(sed -n 's/^COPY --from=build \([^ ]*\) .*/\1/p' recipes/Containerfile); do
    [ -e "$T/bare$path" ] || fail "recipes/Containerfile copies $path"
done
[ -z "$(ls "$T/bare/zl/lib/zl" | grep -E '^(libc|libm|ld-linux.*)\.so')" ] || fail "has a C library"
if [ "$(id -u)" = 0 ]; then
    libc=$(ldd /bin/true | sed -nE 's/.*=> (.*)\/libc\.so\.6 .*/\1/p')
    mkdir -p "$T/bare$libc"
    cp -L "$libc"/{libc.so.6,libm.so.6,libresolv.so.2} "$T/bare$libc"
    cp -L /lib64/ld-linux-*.so.* "$T/bare/lib64"
    mount -t proc proc "$T/bare/proc" # as in every container: $ORIGIN needs it
    mktree "$T/bare/tree"
    for tool in $tools; do expect_exit 0 chroot "$T/bare" /zl/bin/$tool --version; done
    export ZL_STORE=/store ZL_STATE_DIR=/state
    chroot "$T/bare" /zl/bin/zl-pack /tree | chroot "$T/bare" /zl/bin/zl-push --name web1 >"$OUT"
    chroot "$T/bare" /zl/bin/zl-pull web1 | chroot "$T/bare" /zl/bin/zl-unpack -C /back
    same_tree "$T/bare/tree" "$T/bare/back"
    AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x expect_exit 75 chroot "$T/bare" /zl/bin/zl-pull \
        --store 's3://b?endpoint=https://127.0.0.1:1&region=x' --retry-for 1s web1
fi
[ "$(git status --porcelain 2>/dev/null || true)" = "$before" ] || fail "the clone is not as it was"
