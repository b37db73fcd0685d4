#!/bin/bash
# cached-dir.sh LOCKFILE DIR CMD [ARG]...  -- DIR as CMD makes it, from the store if it is there
#
#   cached-dir.sh package-lock.json node_modules npm ci
#
# The key is the content of LOCKFILE, with CACHE_NAME (default: ci) before it. A cache may be lost, but it must
# never fail a build: whatever goes wrong with it is said, and CMD run. CMD's failure is the script's.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64; }
lock=$1 dir=$2
shift 2
hash=$(sha256sum <"$lock")
base=$(basename "$dir" | tr -c 'A-Za-z0-9._\n-' _) # no component of a name begins with a dot, as .venv does
name=${CACHE_NAME:-ci}/dir-$base-${hash:0:32}
layer=$(mktemp -u "${TMPDIR:-/tmp}/layer.XXXXXX")
trap 'rm -f "$layer"' EXIT

code=0
zl-pull --retry-for 1m -o "$layer" "$name" 2>"$layer.err" || code=$?
[ $code = 66 ] || cat "$layer.err" >&2 # 66: not cached yet
rm -f "$layer.err"
if [ $code = 0 ] && zl-unpack --no-same-owner -C "$dir" <"$layer"; then
    echo "cached-dir.sh: $dir is $name"
    exit 0
fi
"$@"
code=0
zl-push --retry-for 1m --name "$name" -- zl-pack "$dir" >/dev/null || code=$?
case $code in
0) ;;
3) echo "cached-dir.sh: not all of $dir could be read: it will be made anew each time" >&2 ;;
*) echo "cached-dir.sh: $dir is not cached" >&2 ;;
esac
