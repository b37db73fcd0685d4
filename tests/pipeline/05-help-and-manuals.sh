#!/bin/bash
# Goal: --help and the manuals name the same options, the manuals render without warnings, and the
# configuration file and the commands they show are right.
. "$(dirname "$0")/../support/lib.sh"

man=$support/../../man
tools=(zl-pack zl-push zl-pull zl-unpack zl-walship zl-restore zl-ls zl-prune)
command -v scdoc >/dev/null || fail "scdoc is missing"

# Long and short options that the left column of --help names.
help_options() {
    "$1" --help | grep -E '^ +-' | grep -oE '^ +(-[A-Za-z], )?--[a-z-]+' | grep -oE -- '--?[A-Za-z][a-z-]*' |
        sort -u
}
# Options in bold anywhere in a page; those of other programs stand in examples, which are not bold.
page_options() {
    grep -oE '\*--?[A-Za-z][a-z-]*[=*]' "$1" | tr -d '*=' | sort -u
}

for tool in "${tools[@]}"; do
    say "$tool: the same options in --help and in the manual"
    help_options $tool >"$T/help.$tool"
    page_options "$man/$tool.1.scd" >"$T/page"
    [ "$(wc -l <"$T/help.$tool")" -ge 15 ] || fail "options of --help not understood"
    # -vv and the like may be shown; they are no options of their own.
    diff "$T/help.$tool" <(grep -vE '^-v+v$' "$T/page") >"$T/diff" ||
        fail "in --help (<) or in the manual (>) only: $(grep '^[<>]' "$T/diff" | tr '\n' ' ')"
    say "$tool: example first, usage line, no line too wide"
    expect_exit 0 $tool --help
    head -1 "$OUT" | grep -q "^usage: $tool " || fail "no usage line first"
    sed -n 3p "$OUT" | grep -qx EXAMPLES || fail "no examples first"
    awk 'length > 100 {exit 1}' "$OUT" || fail "a line of --help is too wide"
done

say "zl(7) describes each option that several tools share"
page_options "$man/zl.7.scd" >"$T/page"
cat "$T"/help.zl-* | sort | uniq -c | awk -v n=${#tools[@]} '$1 == n {print $2}' >"$T/shared"
[ "$(wc -l <"$T/shared")" -ge 10 ] || fail "shared options not found"
comm -23 "$T/shared" "$T/page" >"$T/missing"
expect_empty "$T/missing"

say "the pages render without warnings"
for page in "$man"/*.scd; do
    name=$(basename "$page" .scd)
    scdoc <"$page" >"$T/$name" 2>"$ERR" || fail "scdoc $name: $(cat "$ERR")"
    # scdoc writes a paragraph before and after whatever it writes.
    { mandoc -T lint -W warning "$T/$name" 2>&1 || true; } |
        grep -v 'WARNING: skipping paragraph macro: PP \(empty\|after S[HS]\)$' >"$OUT" || true
    expect_empty "$OUT"
    if command -v groff >/dev/null; then
        groff -man -Tutf8 -ww -z "$T/$name" 2>"$ERR"
        expect_empty "$ERR"
    fi
    for section in NAME EXAMPLES 'SEE ALSO'; do
        grep -qE "^\.SH \"?$section" "$T/$name" || fail "$name has no $section"
    done
    # Every page that is referred to exists.
    grep -oE '\*zl[a-z-]*\*\([0-9]\)' "$page" | tr -d '*()' | sort -u | while read -r ref; do
        [ -e "$man/${ref%?}.${ref: -1}.scd" ] || fail "$name refers to $ref"
    done
done
for tool in "${tools[@]}"; do
    expect_grep "zl\(7\)" <($tool --help)
    for code in 0 64 75; do
        [ $code = 75 ] && [[ $tool = zl-pack || $tool = zl-unpack ]] ||
            awk '/^# EXIT STATUS/ {on = 1} on' "$man/$tool.1.scd" | grep -q "\*$code\*" ||
            fail "$tool.1 does not say exit code $code"
    done
done

say "each exit code of the contract is in zl(7)"
for code in 0 1 3 64 65 66 70 73 74 75 76 77 78 '128+n'; do
    grep -qF "*$code*" "$man/zl.7.scd" || fail "no exit code $code in zl(7)"
done

say "the configuration file in zl(7) is accepted by every tool and takes effect"
sed -n '/^# CONFIGURATION FILE/,/^# ENVIRONMENT/p' "$man/zl.7.scd" | sed -n '/^```/,/^```/p' |
    grep -v '^```' >"$T/zl.conf"
[ "$(wc -l <"$T/zl.conf")" -ge 5 ] || fail "no example found"
for tool in "${tools[@]}"; do
    (unset ZL_STORE && expect_exit 0 $tool --config "$T/zl.conf" --print-config)
done
(unset ZL_STORE && zl-push --config "$T/zl.conf" --print-config >"$OUT")
expect_grep '^jobs = 8  # from .*zl.conf:[0-9]+$' "$OUT"
expect_grep '^store = s3://bucket/app\?region=eu-central-1 ' "$OUT"
zl-pack --config "$T/zl.conf" --print-config >"$OUT"
expect_grep '^exclude = \*\.tmp ' "$OUT"
expect_grep '^exclude = "/cache # 1" ' "$OUT"

say "what --print-config prints is a configuration file with the same values"
for tool in "${tools[@]}"; do
    $tool --print-config -vv --timeout 90s | sed 's/  # .*//' >"$T/first"
    $tool --config "$T/first" --print-config | sed 's/  # .*//' >"$T/second"
    cmp "$T/first" "$T/second"
done

say "the README names the exit codes and commands that exist"
readme=$support/../../README.md
for code in 0 1 3 64 65 66 70 73 74 75 76 77 78; do
    expect_grep "^\| $code \|" "$readme"
done
grep -oE '\./scripts/[a-z-]+\.sh' "$readme" | sort -u | while read -r script; do
    [ -x "$support/../../$script" ] || fail "README: $script is not there"
done
