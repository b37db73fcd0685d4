#!/bin/sh
# prestop.sh  -- before a container is stopped: what the database has committed is sent, and the directory is
# stored. The same variables as for entrypoint.sh. Kubernetes' preStop hook, or by hand:
#
#   docker exec CONTAINER /opt/zl/prestop.sh && docker stop --time 30 CONTAINER
#
#   STOP_WITHIN   so long at most for each of the two, 12s by default. Both and the end of the server itself
#                 have to fit into what the platform grants (Kubernetes 30 s, Docker 10 s).
#
# 3: a file changed while it was read, or could not be read; the rest is stored. 75: not all was sent in time. What zl-push has read is kept where ZL_STATE_DIR is; let that be on a volume,
# and `zl-push --resume` sends the rest.
set -u
within=${STOP_WITHIN:-12s}
worst=0
run() {
    "$@" || { code=$?; [ $worst -ge $code ] || worst=$code; }
}
[ -z "${DB:-}" ] || run zl-walship --flush --timeout "$within" "$DB"
[ -z "${LAYER_DIR:-}" ] ||
    run zl-push --name "${LAYER:?is not set}" --timeout "$within" -- zl-pack "$LAYER_DIR"
exit $worst
