#!/bin/bash
# Goal: SIGKILL at each state of a multipart push, then the next run: no part is lost, at most --jobs
# parts travel twice, no multipart upload stays behind, the object is right.
. "$(dirname "$0")/../support/lib.sh"
use_proxy

mkdir "$T/tree"
head -c 41000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
jobs=2
parts=$((($(stat -c %s "$T/layer") + (5 << 20) - 1) / (5 << 20)))
mapfile -t points < <(grep -oE '\bpush\.[a-z_-]+' "$support/../../lib/README.md" | sort -u || true)
[ ${#points[@]} -ge 10 ] || fail "lib/README.md lists ${#points[@]} crash points"
base=$ZL_STORE
push() { zl-push --name web1 --part-size 5MiB --jobs $jobs "$@" 2>"$ERR" >"$OUT"; }
sent() { log_count '.method == "PUT" and (.path | test("partNumber="))'; }
n=0
for point in "${points[@]}"; do
    for finish in again resume; do
        [ $finish = again ] || [ "$point" != push.spooling ] || continue
        n=$((n + 1))
        rm -rf "$ZL_STATE_DIR"
        ZL_STORE=${base/$s3_root/$s3_root-$n}
        clear_log
        code=0
        { ZL_CRASH_AT=$point push <"$T/layer"; } 2>"$T/shell" || code=$?
        [ $code = 137 ] || fail "$point: exit $code: $(cat "$ERR")"
        if [ $finish = again ]; then push <"$T/layer"; else push --resume; fi
        zl-pull web1 | cmp - "$T/layer"
        # push.created: nobody can prove that the upload is ours. It is recorded, and aborted when it
        # is a day old.
        [ "$point" = push.created ] || [ -z "$(s3 uploads "$ZL_TEST_BUCKET" "$s3_root-$n/")" ] ||
            fail "$point $finish: upload left"
        total=$(sent)
        [ "$total" -ge "$parts" ] && [ "$total" -le $((parts + jobs)) ] ||
            fail "$point $finish: $total parts sent, $parts needed"
        s3 empty "$ZL_TEST_BUCKET" "$s3_root-$n/" # the server keeps everything in memory
    done
done
say "$n crashes"
