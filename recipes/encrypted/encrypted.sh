#!/bin/bash
# encrypted.sh push NAME DIR RECIPIENTS  -- a directory into the store, encrypted by age for RECIPIENTS (a file)
# encrypted.sh pull NAME DIR IDENTITY    -- and back, with the key in IDENTITY; DIR is absent or empty
#
# The store sees sizes, times and NAME. A host that only pushes needs no key to read.
set -euo pipefail
usage() {
    sed -n '2,3s/^# //p' "$0" >&2
    exit 64
}
[ $# = 4 ] || usage
name=$2 dir=$3 keys=$4
case $1 in
push)
    # age ends well when its input is cut, so the pipe is zl-push's child, whose exit code it sees. What
    # changes while it is read is no failure here; zl-pack names it.
    zl-push --raw --name "$name" -- bash -o pipefail -c \
        'zl-pack --changed ok "$1" | age -R "$2"' push "$dir" "$keys"
    ;;
pull)
    # zl-unpack publishes nothing before it has seen the true end of the layer inside.
    zl-pull "$name" | age -d -i "$keys" | zl-unpack -C "$dir"
    ;;
*) usage ;;
esac
