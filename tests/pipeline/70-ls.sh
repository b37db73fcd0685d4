#!/bin/bash
# Goal: zl-ls tells what a store holds, on a machine that knows nothing of it, in rows that scripts can
# read; nothing that a hostile store says reaches a terminal raw. Steps: two pushes of a name, a name
# below it, layers without a name, a raw one, a foreign one, two databases; every WHAT; the table on a
# terminal; uploads; exit codes.
. "$(dirname "$0")/../support/lib.sh"

ls_rows() { zl-ls "$@" >"$OUT" 2>"$ERR" && expect_empty "$ERR"; }
field() { cut -f "$1" "$OUT"; }

say "an empty store"
expect_exit 0 zl-ls
expect_empty "$OUT"
expect_empty "$ERR"
expect_exit 66 zl-ls web1
expect_exit 66 zl-ls --max-age 1h
[ ! -e "$T/store" ] || fail "zl-ls made a store"

mkdir -p "$T"/tree/{etc,"a b"}
echo one >"$T/tree/etc/one"
ln "$T/tree/etc/one" "$T/tree/a b/link"
ln -s one "$T/tree/etc/sym"
pack_store "$T/tree" web1
first=$digest
printf 'x\n' >"$T/tree/etc/"$'t\twith\e[31m'
pack_store "$T/tree" web1
second=$digest
rm "$T/tree/etc/"*$'\e'*
head -c 100000 /dev/urandom >"$T/tree/big"
pack_store "$T/tree" web1/sub
third=$digest
echo unnamed >"$T/tree/etc/two"
fourth=$(zl-pack "$T/tree" | zl-push --tag who=me)
fourth=${fourth#sha256:}
head -c 5000 /dev/urandom >"$T/blob"
raw=$(zl-push --raw --name enc --accept-eof <"$T/blob")
raw=${raw#sha256:}
foreign=$(tar -C "$T/tree" -c . | zstd -q | zl-push --foreign --name tar)
foreign=${foreign#sha256:}
for name in app shop/db-1; do
    db=$T/$(basename $name).db
    sqlite3 "$db" 'PRAGMA journal_mode = wal; CREATE TABLE t(v)' >"$T/.mode"
    zl-walship --once --name $name "$db"
    sqlite3 "$db" 'INSERT INTO t VALUES (1)'
    zl-walship --once --name $name "$db"
done

say "everything, from a machine that was never here"
export ZL_STATE_DIR=$T/elsewhere HOME=$T/nobody
find "$T/store" | sort >"$T/before"
ls_rows
find "$T/store" | sort | cmp - "$T/before"
[ ! -e "$T/elsewhere" ] && [ ! -e "$T/nobody" ] || fail "zl-ls left something"
cut -f 1,2,6 "$OUT" >"$T/got"
cat >"$T/want" <<END
enc	raw	1
tar	foreign	1
web1	layer	2
web1/sub	layer	1
-	layer	-
db/app	database	1
db/shop/db-1	database	1
END
diff "$T/want" "$T/got"
[ "$(field 5 | sed -n 1,5p)" = "$(printf '%s\n' $raw $foreign $second $third $fourth)" ]
size=$(stat -c %s "$T/store/layers/$second.tar.zst")
[ "$(field 4 | sed -n 3p)" = "$size" ]
ls_rows -l
expect_grep $'\twho=me\t-$' "$OUT"

say "JSON lines have the fields of meta.json"
ls_rows --json
jq -s -e --arg d "$second" --argjson s "$size" '
    (.[] | select(.name == "web1")) as $w | $w.digest == $d and $w.versions == 2 and
    $w.compressed_size_bytes == $s and $w.file_count == 7 and ($w.blob_sha256 | length == 64) and
    $w.from < $w.time and length == 7 and
    (.[] | select(.name == "db/app") | .type == "database" and .segments >= 1 and .from < .to)' \
    "$OUT" >"$T/.jq" || fail "$(cat "$OUT")"

say "the pushes of a name, not those of names below it"
ls_rows web1
[ "$(field 5)" = "$(printf '%s\n' $first $second)" ]
[ "$(field 3 | sort)" = "$(field 3)" ]

say "one layer: by digest, prefix, name at a time, latest"
for what in $second sha256:$second ${second:0:12} web1@2999-01-01T00:00:00Z; do
    ls_rows --json "$what"
    jq -e --arg d "$second" '.digest == $d and .trailer.file_count == 7 and
        (.names | length == 1)' "$OUT" >"$T/.jq" || fail "$what: $(cat "$OUT")"
done
ls_rows latest
expect_grep "^digest	$foreign\$" "$OUT"

say "the contents of a layer, below a path, without fetching it"
ls_rows --json "web1:/"
[ "$(wc -l <"$OUT")" = 7 ]
ls_rows "web1/sub:/etc"
printf '%s\n' etc etc/one etc/sym | diff - "$OUT"
ls_rows -l "${third:0:10}:/a b"
ls_rows --json "web1/sub:/"
jq -s -e --arg h "$(sha256sum <"$T/tree/big" | cut -d' ' -f 1)" '
    (.[] | select(.path == "big") | .size == 100000 and .sha256 == $h) and
    (.[] | select(.kind == "hardlink") | .path != .link and (.link | length > 0))' \
    "$OUT" >"$T/.jq" || fail "$(cat "$OUT")"
expect_exit 66 zl-ls "web1:/no"
expect_exit 64 zl-ls "tar:/"
say "control characters of names stay inside"
ls_rows "web1:/etc"
expect_grep 'with\\x1b' "$OUT"
expect_no_grep $'\e' "$OUT"

say "names that are no UTF-8 can be told apart in JSON too"
mkdir "$T/bytes"
touch "$T/bytes/"$'n\xff1' "$T/bytes/"$'n\xfe1' "$T/bytes/n\\1"
zl-pack "$T/bytes" | ZL_STORE=$T/store2 zl-push --name bytes >"$OUT"
ls_rows --json --store "$T/store2" bytes:/
[ "$(jq -r '.path_escaped // .path' "$OUT" | sort | tr '\n' ' ')" = '. n\1 n\xfe1 n\xff1 ' ] || fail "$(cat "$OUT")"

say "what can be restored of a database"
ls_rows db/app
[[ $(field 3) = [12]-$(ls "$T/store/db/app/wal" | wc -l) ]]
zl-restore --list --json app >"$T/list"
ls_rows --json db/app
jq -c 'del(.type, .name)' "$OUT" | diff - <(jq -c . "$T/list")
expect_exit 66 zl-ls db/nothing
expect_exit 66 zl-ls app
expect_grep 'db/app' "$ERR"

say "keys of others do no harm"
mkdir -p "$T/store/db/x y" "$T/store/layers/refs/.hid" "$T/store/layers/refs/bad name"
touch "$T/store/db/README" "$T/store/layers/junk" "$T/store/db/x y/wal"
echo '{}' >"$T/store/layers/refs/bad name/20261122T060000.000Z-aaaaaaaaaaaa.json"
ls_rows
cut -f 1,2,6 "$OUT" | diff "$T/want" -
expect_exit 0 zl-ls --check
[ "$(grep -c '^note' "$OUT")" = 4 ] || fail "$(cat "$OUT")"
rm -r "$T/store/db/x y" "$T/store/db/README" "$T/store/layers/junk" "$T/store/layers/refs/bad name"

say "on a terminal: a table with a header"
script -qec "zl-ls" /dev/null </dev/null | tr -d '\r' >"$T/tty"
head -1 "$T/tty" | grep -qE '^NAME +KIND +TIME +SIZE +DIGEST +VERSIONS' || fail "$(cat "$T/tty")"
expect_grep "^web1 .* ${second:0:12}  2 " "$T/tty"
expect_no_grep "$second" "$T/tty"
script -qec "zl-ls --check; zl-ls --check=full" /dev/null </dev/null | tr -d '\r' >"$T/tty"
[ "$(grep -c '^all is well: checked' "$T/tty")" = 2 ] || fail "$(cat "$T/tty")"

say "uploads under way"
ls_rows --uploads
expect_empty "$OUT"
expect_exit 64 zl-ls --uploads web1

say "exit codes"
expect_exit 64 zl-ls "bad name"
expect_exit 64 zl-ls --check --max-age 1h
expect_exit 64 zl-ls --check=some
expect_exit 66 zl-ls ffffffffffff
cp "$T/store/layers/$first.tar.zst" "$T/store/layers/${first:0:63}$(echo "${first:63}" | tr 0-9a-f 1-9a-f0).tar.zst"
expect_exit 65 zl-ls "${first:0:10}"
expect_grep 'not unique' "$ERR"
