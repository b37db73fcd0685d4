#!/bin/bash
# Goal: the commands in recipes/kubernetes, in the order and with the signals of a pod: nothing is lost when
# its volume is.
. "$(dirname "$0")/../support/lib.sh"
command -v sqlite3 >/dev/null || skip "needs sqlite3"
python3 -c 'import yaml' 2>/dev/null || skip "needs python3-yaml"

no_store='s3://b?endpoint=http://127.0.0.1:1&region=x'
export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x
# NAME COMMAND... of each container, and of the probes
python3 - "$support/../../recipes/kubernetes/app.yaml" \
    "$support/../../recipes/Containerfile" >"$T/commands" <<'END'
import re, shlex, sys, yaml
pod = yaml.safe_load(open(sys.argv[1]))['spec']['template']['spec']
volumes = {v['name'] for v in pod['volumes']}
first, second = pod['initContainers']
assert 'restartPolicy' not in first and second['restartPolicy'] == 'Always'
for c in [first, second] + pod['containers']:
    assert c['volumeMounts'] == [{'name': 'data', 'mountPath': '/data'}] and 'data' in volumes, c
with open(sys.argv[2]) as f:
    parts = re.split(r'^FROM (\S+) AS (\S+)$', f.read(), flags=re.M)
stages = {name: (base, steps) for base, name, steps in zip(parts[1::3], parts[2::3], parts[3::3])}
for c in first, second:
    assert c['envFrom'] == [{'secretRef': {'name': 'zl-store'}}], c
    # Its image is one of the Containerfile's, in which a tool is found by its name.
    base, steps = stages[c['image'].rsplit('/', 1)[1]]
    assert base != 'scratch' and base not in stages, base
    assert '\nCOPY --from=zl /zl /opt/zl\n' in steps and '\nENV PATH=/opt/zl/bin:' in steps, steps
    print(c['name'], shlex.join(c['command']))
print('probe', shlex.join(second['livenessProbe']['exec']['command']))
drain = second['command'][second['command'].index('--drain-timeout') + 1]
assert int(drain.rstrip('s')) < pod['terminationGracePeriodSeconds']
END
sed -i "s|/data/|$T/data/|" "$T/commands"
command_of() { sed -n "s/^$1 //p" "$T/commands"; }
[ "$(wc -l <"$T/commands")" = 3 ] || fail "$(cat "$T/commands")"
mkdir "$T/data"
unset HOME ZL_STATE_DIR "${!XDG_@}" # a pod has none
db=$T/data/app.db
waiting() { zl-walship --status --json "$db" 2>/dev/null | jq -e '.state == "waiting"' >"$OUT"; }
healthy() { bash -c "$(command_of probe)" >"$OUT" 2>&1; }
# pod: what the kubelet does with the init containers, then the server's writes
pod() {
    expect_exit 0 bash -c "$(command_of restore)"
    bash -c "exec $(command_of replicate)" 2>"$T/sidecar.err" &
    sidecar=$!
    test_pids+=($sidecar)
    [ -e "$db" ] || within 10 waiting # for the server to make it
    sqlite3 -cmd '.timeout 5000' "$db" "PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS rows(a);
        INSERT INTO rows VALUES($1)" >"$T/.mode"
    within 20 healthy
}
end_pod() { # the server writes once more, then the sidecar is told to end
    sqlite3 -cmd '.timeout 5000' "$db" "INSERT INTO rows VALUES($1)"
    kill "$sidecar"
    wait "$sidecar" || fail "$(cat "$T/sidecar.err")"
}
say "a pod is started and ended"
pod 1
end_pod 2
! healthy || fail "the probe does not see that it has ended"
say "the next one has an empty volume"
rm -rf "$T/data"
mkdir "$T/data"
pod 3
[ "$(sqlite3 "$db" 'SELECT group_concat(a) FROM rows')" = 1,2,3 ] || fail "lost"
end_pod 4
say "the store does not answer: the pod is not started with an empty database"
rm -rf "$T/data"
mkdir "$T/data"
ZL_STORE=$no_store ZL_RETRY_FOR=1s expect_exit 75 bash -c "$(command_of restore)"
say "the store goes away until the WAL has to be let go: the probe does not end what could still be sent"
export ZL_SYNC_INTERVAL=50ms ZL_MAX_CACHE_SIZE=1MiB ZL_MAX_WAL=2MiB
pod 1
mv "$T/store" "$T/away"
touch "$T/store"
python3 "$support/walwriter.py" write "$T/data/app.db" --rate 300 --seconds 4 --size 9000 --log "$T/log" >"$T/writer.json"
gap() { { zl-walship --status --json "$db" || true; } | jq -e '.state == "gap"' >"$OUT"; }
within 20 gap
healthy || fail "it would be killed: $(cat "$OUT")"
