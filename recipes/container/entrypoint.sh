#!/bin/sh
# entrypoint.sh CMD [ARG]...  -- a container whose state outlives it. Brings back what the volume does not
# have, then runs CMD as zl-walship's child: its database is replicated as it writes, signals reach it,
# and after it ended the rest is sent. Needs nothing but a POSIX shell.
#
#   ZL_STORE    s3://bucket/app?region=eu-central-1; credentials as for the AWS tools
#   DB          path of the database; its replica is named by NAME, or by its file name
#   NAME        optional
#   LAYER_DIR   optional: a directory that comes back too; prestop.sh stores it
#   LAYER       its name in the store
#
# Ends with CMD's code; 75 if not all could be sent. It does not start CMD when it cannot know whether there
# is something to bring back (75, 77) or when that is damaged (65): a server must not begin empty by mistake. A directory of which something could not be
# read while it was stored (3), or whose owners cannot be restored (3), comes back as far as it goes.
set -eu
: "${ZL_STORE:?is not set}" "${DB:?is not set}"
[ $# -gt 0 ] || { echo "usage: entrypoint.sh CMD [ARG]..." >&2; exit 64; }

# restore_layer NAME DIR: what is there and whole stays. By way of a file, so that a cut transfer goes on where
# it was, and "nothing stored yet" (66) can be told from a failure.
restore_layer() {
    # A fresh volume may hold lost+found; .zl-unpack is of an unpack that did not get far.
    if ls -A "$2" 2>/dev/null | grep -qvxE 'lost\+found|\.zl-unpack' && zl-unpack --check -C "$2"; then
        return 0
    fi
    code=0
    zl-pull -o "$2.layer" "$1" || code=$?
    case $code in
    0 | 3) # 3: a file changed while the directory was stored, or could not be read; zl-unpack says so too
        zl-unpack -C "$2" <"$2.layer" || { code=$?; [ $code = 3 ] || exit $code; }
        rm -f "$2.layer"
        ;;
    66)
        echo "entrypoint.sh: nothing is stored as $1 yet, starting with an empty $2" >&2
        mkdir -p "$2"
        ;;
    *) exit $code ;;
    esac
}
[ -z "${LAYER_DIR:-}" ] || restore_layer "${LAYER:?is not set}" "$LAYER_DIR"

exec zl-walship ${NAME:+--name "$NAME"} "$DB" -- "$@"
