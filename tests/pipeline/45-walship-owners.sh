#!/bin/bash
# Goal: one history per name. A host that restored takes over, the former writer stops with 76; an old
# copy of the volume forks only under W9's rules; two first starts at once; a writer stopped for long.
# On the directory store; tests/s3/12-walship-owners.sh runs it with and without conditional writes.
. "$(dirname "$0")/../support/lib.sh"

app() { sqlite3 -cmd '.timeout 5000' "$T/$1/app.db" "$2"; }
new_host() { # DIR: an application's database in WAL mode
    mkdir -p "$T/$1"
    app "$1" "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)" >/dev/null
}
restored() { # [OPTION]...: the sum of what the store holds
    rm -f "$T/out.db"
    zl-restore "$@" -o "$T/out.db" "$name" 2>"$ERR" || fail "restore: $(cat "$ERR")"
    sqlite3 "$T/out.db" 'SELECT group_concat(v) FROM t'
}
ship() { zl-walship --once --name "$name" "$@"; }

for store in ${OWNERS_STORES:-$ZL_STORE}; do
    export ZL_STORE=$store
    case $store in
    *conditional=off*) conditional=off ;;
    *) conditional=auto ;;
    esac
    name=own-$conditional

    say "$conditional: a restored copy goes on, the former writer stops with 76 and changes nothing"
    new_host a
    app a "INSERT INTO t(v) VALUES('a1')"
    ship "$T/a/app.db"
    mkdir "$T/b"
    zl-restore -o "$T/b/app.db" "$name"
    ship "$T/b/app.db"
    app b "INSERT INTO t(v) VALUES('b1')"
    ship "$T/b/app.db"
    app a "INSERT INTO t(v) VALUES('a2')"
    before=$(store_list "db/$name/wal" | wc -l)
    expect_exit 76 zl-walship --once --name "$name" "$T/a/app.db"
    expect_grep "$name belongs to .* since 20" "$ERR"
    expect_grep '^hint: ' "$ERR"
    [ "$(store_list "db/$name/wal" | wc -l)" = "$before" ] || fail "the store changed"
    [ "$(restored)" = a1,b1 ]
    [ "$(app a 'PRAGMA integrity_check')" = ok ]

    say "$conditional: --take-over puts the other database in its place; both stay restorable"
    other=$(zl-restore --list --json "$name" | jq -rs '[.[] | select(.current)][0].generation')
    ship --take-over "$T/a/app.db"
    [ "$(restored)" = a1,a2 ]
    [ "$(restored --generation "$other")" = a1,b1 ]

    say "$conditional: an old copy of the volume opens a generation of its own"
    cp -a "$T/a" "$T/a.old"
    app a "INSERT INTO t(v) VALUES('a3')"
    ship "$T/a/app.db"
    sleep 0.01
    ahead=$(zl-restore --list --json "$name" | jq -rs '[.[] | select(.current)][0].generation')
    rm -rf "$T/a"
    mv "$T/a.old" "$T/a"
    app a "INSERT INTO t(v) VALUES('a4')"
    ship "$T/a/app.db"
    [ "$(restored)" = a1,a2,a4 ]
    [ "$(restored --generation "$ahead")" = a1,a2,a3 ]
    zl-restore --list --json "$name" | jq -es 'length >= 3 and ([.[] | select(.current)] | length == 1)' \
        >/dev/null || fail "list: $(zl-restore --list "$name")"

    say "$conditional: a database of another origin under the same name is refused"
    new_host c
    app c "INSERT INTO t(v) VALUES('c1')"
    expect_exit 76 zl-walship --once --name "$name" "$T/c/app.db"
    [ "$(restored)" = a1,a2,a4 ]

    say "$conditional: two first starts at once: exactly one history, the other ends with 76"
    name=first-$conditional
    new_host x
    new_host y
    app x "INSERT INTO t(v) VALUES('x')"
    app y "INSERT INTO t(v) VALUES('y')"
    codes=()
    zl-walship --once --name "$name" "$T/x/app.db" 2>"$T/x.err" &
    px=$!
    zl-walship --once --name "$name" "$T/y/app.db" 2>"$T/y.err" &
    py=$!
    for pid in $px $py; do
        code=0
        wait $pid || code=$?
        codes+=("$code")
    done
    case "${codes[*]}" in
    "0 76") want=x ;;
    "76 0") want=y ;;
    *) fail "exit codes ${codes[*]}: $(cat "$T/x.err" "$T/y.err")" ;;
    esac
    [ "$(restored)" = $want ]

    say "$conditional: a writer that was stopped, and overtaken meanwhile, stops"
    name=stopped-$conditional
    new_host d
    app d "INSERT INTO t(v) VALUES('d1')"
    zl-walship --name "$name" --sync-interval 100ms "$T/d/app.db" 2>"$T/d.err" &
    pid=$!
    test_pids+=($pid)
    within 20 zl-walship --flush "$T/d/app.db" 2>/dev/null
    kill -STOP $pid
    mkdir "$T/e"
    zl-restore -o "$T/e/app.db" "$name"
    app e "INSERT INTO t(v) VALUES('e1')"
    rm -rf "$T/e/app.db.zl"
    # Restored and changed before the shipper saw it: it is not a copy any more, so it has to say so.
    expect_exit 76 zl-walship --once --name "$name" "$T/e/app.db"
    ship --take-over "$T/e/app.db"
    app d "INSERT INTO t(v) VALUES('d2')"
    kill -CONT $pid
    code=0
    wait $pid || code=$?
    [ $code = 76 ] || fail "exit $code: $(cat "$T/d.err")"
    [ "$(restored)" = d1,e1 ]

    say "$conditional: a writer that ended in order released the name, until it starts again"
    name=released-$conditional
    new_host f
    new_host g
    app f "INSERT INTO t(v) VALUES('f1')"
    app g "INSERT INTO t(v) VALUES('g1')"
    for round in 1 2; do
        zl-walship --name "$name" "$T/f/app.db" 2>"$T/f.err" &
        pid=$!
        test_pids+=($pid)
        within 20 zl-walship -q --flush "$T/f/app.db" 2>/dev/null
        if [ $round = 2 ]; then
            within 10 expect_exit 76 zl-walship --once --name "$name" "$T/g/app.db"
        fi
        kill -TERM $pid
        wait $pid || fail "exit $?: $(cat "$T/f.err")"
    done
    ship "$T/g/app.db"
    [ "$(restored)" = g1 ]
    rm -rf "$T"/{a,b,c,d,e,f,g,x,y}
done
