#!/bin/bash
# Goal: --auto starts an application neither without its data nor not at all: the truth table.
. "$(dirname "$0")/../support/lib.sh"

db=$T/source/app.db
mkdir "$T/source"
sqlite3 "$db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)' >/dev/null
zl-walship --once "$db"
sqlite3 "$db" 'INSERT INTO t VALUES(2)'
zl-walship --once "$db"
zl-restore -o "$T/want" app
file=$T/place/app.db
fresh() { rm -rf "$T/place" && mkdir "$T/place"; }
result() { jq -r .result "$OUT"; }

say "absent, a backup: restored"
fresh
expect_exit 0 zl-restore --auto --json -o "$file" app
[ "$(result)" = restored ]
expect_empty "$ERR"
cmp "$file" "$T/want"

say "there: kept, without asking the store"
echo other >"$file"
expect_exit 0 zl-restore --store "$T/unreadable" --auto --json -o "$file" app
[ "$(result)" = kept ]
[ "$(cat "$file")" = other ]

say "absent, no backup: goes on, and leaves the place empty"
fresh
expect_exit 0 zl-restore --auto --json -o "$file" nosuch
[ "$(result)" = "no backup" ]
[ -z "$(ls -A "$T/place")" ]

say "0 bytes counts as absent, unless there is a WAL"
fresh
: >"$file"
expect_exit 0 zl-restore --auto --json -o "$file" app
cmp "$file" "$T/want"
fresh
: >"$file"
echo wal >"$file-wal"
expect_exit 0 zl-restore --auto --json -o "$file" app
[ "$(result)" = kept ]

say "what lies beside an absent database is moved aside and named"
for name in app nosuch; do
    fresh
    for end in wal shm journal; do echo $end >"$file-$end"; done
    expect_exit 0 zl-restore --auto -o "$file" $name
    for end in wal shm journal; do
        expect_grep "app.db.before-restore-.*-$end" "$ERR"
        [ ! -e "$file-$end" ]
        [ "$(cat "$file".before-restore-*-$end)" = $end ]
    done
    [ $name = nosuch ] || cmp "$file" "$T/want"
done

say "absent and the answer unknown: 75, 77, 65; the place stays as it is"
unknown() { # EXIT ARGUMENT...
    local code=$1
    shift
    fresh
    echo wal >"$file-wal"
    expect_exit "$code" zl-restore --auto --retry-for 200ms "$@" -o "$file" app
    [ "$(ls -A "$T/place")" = app.db-wal ] || [ "$code" = 65 ] || fail "left: $(ls -A "$T/place")"
    [ ! -e "$file" ]
}
export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=y
unknown 75 --store 's3://b/r?endpoint=http://127.0.0.1:1&region=us-east-1'
cp -r "$T/store" "$T/bad"
echo rubbish >"$(printf '%s/bad/db/app/wal/%020d.wal.zst' "$T" 2)"
unknown 65 --store "$T/bad"
# A server that refuses everything.
coproc server { exec python3 -u -c '
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_HEAD = do_GET
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H)
print(s.server_port)
s.serve_forever()'; }
test_pids+=("$server_PID")
read -r port <&"${server[0]}"
unknown 77 --store "s3://b/r?endpoint=http://127.0.0.1:$port&region=us-east-1"
