#!/bin/bash
# Goal: each tool's metrics follow the rules of the text format and of naming, on every way out; the
# manuals name each of them and no other; the dashboard asks for none that does not exist.
. "$(dirname "$0")/../support/lib.sh"
. "$support/walship.sh"

top=$support/../..
promtext() { python3 "$support/promtext.py" "$@"; }
# measured TOOL CODE [ARG]...: run with --metrics, and looked at
runs=0
measured() {
    local tool=$1 code=$2
    shift 2
    runs=$((runs + 1))
    expect_exit "$code" "$tool" --metrics "$T/m.$runs" "$@"
    promtext "$T/m.$runs" >"$T/names.$runs" || fail "$tool"
    expect_grep "^zl_last_exit_code\{tool=\"$tool\",name=\"[^\"]*\"\} $code$" "$T/m.$runs"
}

say "what the checker is there for"
bad() { # PATTERN TEXT
    printf '%b' "$2" >"$T/bad"
    ! promtext "$T/bad" >"$OUT" 2>"$ERR" || fail "not noticed: $2"
    expect_grep "$1" "$ERR"
}
bad 'no HELP and TYPE' 'zl_x{} 1\n'
bad 'line feed' '# HELP zl_x X.\n# TYPE zl_x gauge\nzl_x{} 1'
bad 'is a gauge' '# HELP zl_x_total X.\n# TYPE zl_x_total gauge\nzl_x_total{} 1\n'
bad 'no sample' '# HELP zl_x X.\n# TYPE zl_x gauge\nzl_x{a="b"c"} 1\n'
bad 'twice' '# HELP zl_x X.\n# TYPE zl_x gauge\nzl_x{a="b"} 1\nzl_x{a="b"} 1\n'
bad 'together' '# HELP zl_x X.\n# TYPE zl_x gauge\nzl_x{} 1\n# HELP zl_y Y.\n# TYPE zl_y gauge\nzl_y{} 1\n# HELP zl_x X.\n'
bad 'bad name' '# HELP zl_x_ms X.\n# TYPE zl_x_ms gauge\nzl_x_ms{} 1\n'

say "each tool, when it goes well and when it does not"
mktree --only small "$T/tree"
measured zl-pack 0 -o "$T/layer" "$T/tree"
measured zl-pack 66 -o "$T/layer2" "$T/nothing"
measured zl-push 0 --name 'web1' <"$T/layer"
measured zl-push 65 --name web1 < <(head -c 3000 "$T/layer")
measured zl-pull 0 -o "$T/back" web1
measured zl-pull 66 nobody
measured zl-unpack 0 -C "$T/out" <"$T/layer"
measured zl-unpack 64
measured zl-ls 0
value() { sed -n "s/^$1{.*} //p" "$T/m.$runs"; } # of the last run
say "of a check, of ages, of a prune"
measured zl-ls 0 --check
[ "$(value zl_damaged_objects)" = 0 ]
object=$(ls "$T"/store/layers/*.tar.zst)
size=$(du -cb "${object%.tar.zst}"* | awk 'END {print $1}') # with its meta.json
mv "$object" "$T/away"
measured zl-ls 1 --check
[ "$(value zl_damaged_objects)" = 1 ] || fail "$(value zl_damaged_objects)"
mv "$T/away" "$object"
measured zl-ls 0 --max-age 1h web1
[ "$(value zl_stale_names)" = 0 ]
sleep 1.1
measured zl-ls 1 --max-age 1s web1
[ "$(value zl_stale_names)" = 1 ]
zl-pack "$support" | zl-push --name web1 >"$OUT"
export ZL_TEST_GRACE=0s
measured zl-prune 0 --keep-last 1 --apply web1 # the name
[ "$(value zl_pruned_objects)" = 1 ]
[ "$(value zl_prunable_later_bytes)" = "$size" ] || fail "$(value zl_prunable_later_bytes), not $size"
measured zl-prune 0 --keep-last 1 --apply web1 # the layer
[ "$(value zl_prunable_later_bytes)" = 0 ]
[ "$(value zl_pruned_bytes)" -ge "$size" ] || fail "$(value zl_pruned_bytes), less than $size"
say "of a database"
new_db 'CREATE TABLE t(v)'
measured zl-walship 0 --once "$DB"
measured zl-restore 0 -o "$T/r.db" app
measured zl-restore 73 -o "$T/r.db" app
say "of a daemon, while it runs"
start_ship --metrics "$T/m.ship"
within 10 is_streaming
sql 'INSERT INTO t VALUES(1)'
within 30 grep -qE '^zl_walship_state\{.*state="streaming"\} 1$' "$T/m.ship"
promtext "$T/m.ship" >"$T/names.ship"
expect_no_grep zl_last_exit_code "$T/m.ship"
drain_ship
promtext "$T/m.ship" >"$T/names.shipped"
expect_grep '^zl_walship_running\{.*\} 0$' "$T/m.ship"
sort -u "$T"/names.* >"$T/names"
[ "$(wc -l <"$T/names")" -ge 20 ] || fail "too few: $(cat "$T/names")"

say "the manuals name each, and no other"
grep -ohE 'zl\\?_[a-z_\\]+[a-z]' "$top"/man/{zl.7,zl-walship.1}.scd | tr -d '\\' |
    grep -vE '^zl_(store|config|state_dir)$' | sort -u >"$T/documented"
diff "$T/names" "$T/documented" | grep '^[<>]' >"$T/diff" || true
[ ! -s "$T/diff" ] || fail "in the files (<) or in the manuals (>) only: $(tr '\n' ' ' <"$T/diff")"

say "the dashboard asks for metrics that exist, and leaves out none"
promtext --dashboard "$top/recipes/grafana-zl.json" >"$T/asked"
comm -13 "$T/names" "$T/asked" >"$T/unknown"
expect_empty "$T/unknown"
comm -23 "$T/names" "$T/asked" |
    grep -vxE 'zl_(last_run_timestamp_seconds|layer_entries)' >"$T/unseen" || true
expect_empty "$T/unseen"
