#!/bin/bash
# Goal: recipes/container: a container comes back with what it had, whatever ended it; as process 1.
. "$(dirname "$0")/../support/lib.sh"
command -v sqlite3 >/dev/null || skip "needs sqlite3"

recipe=$support/../../recipes/container
data=$T/data
export DB=$data/app.db LAYER=web1 LAYER_DIR=$data/upper T
sql() { sqlite3 -bail -cmd '.timeout 5000' "$DB" "$@"; }
new_volume() { rm -rf "$data" && mkdir "$data"; }
# A server: makes its table, writes into both, and once more when it is told to end.
cat >"$T/server" <<'END'
#!/bin/bash
sql() { sqlite3 -cmd '.timeout 5000' "$DB" "$@" >/dev/null; }
sql 'PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES("start")'
trap 'sql "INSERT INTO t VALUES(\"end\")"; exit ${CODE:-0}' TERM
date >>"$LAYER_DIR/starts"
echo $$ >"$T/ready"
while :; do sleep 0.05; done
END
chmod +x "$T/server"
entry=("$recipe/entrypoint.sh" "$T/server")
if [ "$(id -u)" = 0 ] && unshare -pf --mount-proc true 2>/dev/null; then
    entry=(unshare -pf --mount-proc "${entry[@]}")
else
    say "not as process 1: needs root"
fi
start() {
    rm -f "$T/ready"
    setsid "${entry[@]}" 2>"$T/err" &
    outer=$!
    test_pids+=($outer)
    within 20 test -s "$T/ready"
    if [ "${entry[0]}" = unshare ]; then
        init=$(pgrep -P $outer) # signals come from outside, as a container engine sends them
        server=$init            # no process outlives process 1
    else
        init=$outer
        server=$(cat "$T/ready")
    fi
    test_pids+=("$init" "$server")
}
stop() { # EXPECTED-CODE
    local code=0
    kill -TERM "$init"
    wait $outer || code=$?
    [ $code = "$1" ] || fail "exit $code, expected $1: $(cat "$T/err")"
}
rows() { sql 'SELECT group_concat(a) FROM t'; }
starts() { wc -l <"$LAYER_DIR/starts"; }

say "first start: nothing is stored yet, both begin empty"
new_volume
start
expect_grep 'nothing is stored as web1 yet' "$T/err"

say "stopped: preStop stores the directory, TERM drains the database, the server's code is returned"
streaming() { zl-walship --status --json "$DB" 2>/dev/null | jq -e '.state == "streaming"' >/dev/null; }
within 10 streaming
expect_exit 0 "$recipe/prestop.sh"
stop 0

say "a new volume: both come back, with what was written while stopping"
new_volume
mkdir -p "$LAYER_DIR"/{lost+found,.zl-unpack} # of the file system, and of an unpack that was killed
export CODE=7
start
[ "$(rows)" = start,end,start ] || fail "$(rows)"
[ "$(starts)" = 2 ] || fail "$(cat "$LAYER_DIR/starts")"
[ ! -e "$LAYER_DIR.layer" ] || fail "the layer's file is left"
expect_empty "$T/err"
stop 7

say "the volume survives: nothing is fetched, the directory is what it was"
start
[ "$(starts)" = 3 ] || fail "$(starts)"
[ "$(rows)" = start,end,start,end,start ] || fail "$(rows)"
say "killed: what was committed and sent comes back; the directory as of the last preStop"
expect_exit 0 zl-walship --flush "$DB"
kill -KILL "$init" "$server" 2>/dev/null || true
wait $outer 2>/dev/null || true
new_volume
start
[ "$(rows)" = start,end,start,end,start,start ] || fail "$(rows)"
[ "$(starts)" = 2 ] || fail "$(starts)"
stop 7

if [ "$(id -u)" = 0 ]; then
    say "the directory was not stored whole: what there is comes back, at the first start"
    new_volume
    start
    echo secret >"$LAYER_DIR/secret"
    chmod 600 "$LAYER_DIR/secret"
    code=0
    setpriv --reuid 1000 --regid 1000 --clear-groups -- zl-pack "$LAYER_DIR" 2>"$ERR" |
        zl-push --name web1 2>>"$ERR" >"$OUT" || code=$?
    [ $code = 3 ] || fail "exit $code: $(cat "$ERR")"
    stop 7
    new_volume
    start
    expect_grep 'packed incomplete' "$T/err"
    [ "$(starts)" = 3 ] || fail "$(cat "$LAYER_DIR/starts")"
    [ ! -e "$LAYER_DIR.layer" ] || fail "the layer's file is left"
    stop 7
fi

say "the store cannot be asked, or what it has is damaged: the server is not started"
rm -f "$T/ready"
mv "$T/store" "$T/away"
export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x ZL_RETRY_FOR=1s
for lost in "$DB" "$LAYER_DIR"; do
    rm -rf "$lost" "$DB"-* "$DB.zl"
    ZL_STORE='s3://b?endpoint=http://127.0.0.1:1&region=x' expect_exit 75 "${entry[@]}"
    [ ! -e "$T/ready" ] || fail "started"
done
mv "$T/away" "$T/store"
new_volume
for layer in "$T"/store/layers/*.tar.zst; do
    printf xxxx | dd of="$layer" bs=1 seek=40 conv=notrunc status=none
done
expect_exit 65 "${entry[@]}"
[ ! -e "$T/ready" ] || fail "started with a damaged directory"
[ ! -e "$LAYER_DIR" ] || fail "$LAYER_DIR is there"

say "preStop: both are tried, the worst code counts"
expect_exit 66 "$recipe/prestop.sh"
expect_grep 'there is no database' "$ERR"
expect_grep 'zl-pack: .*upper: no such' "$ERR"
sql 'PRAGMA journal_mode=wal' >"$OUT"
expect_exit 75 "$recipe/prestop.sh" # no zl-walship runs
mkdir "$LAYER_DIR"
DB='' expect_exit 0 "$recipe/prestop.sh"

say "variables that are missing are named"
(unset DB && expect_exit 2 sh "$recipe/entrypoint.sh" true && expect_grep DB "$ERR")
expect_exit 64 "$recipe/entrypoint.sh"
