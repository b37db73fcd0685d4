#!/bin/bash
# Goal: `meson install` puts every tool, manual, completion and unit where Debian and others look for
# them, and nothing else.
. "$(dirname "$0")/../support/lib.sh"

build=${ZL_BUILD:-$ZL_BIN/..}
[ -e "$build/build.ninja" ] || skip "needs a build directory: set ZL_BUILD"
man=$support/../../man
meson install -C "$build" --no-rebuild --destdir "$T/dest" >"$T/log" 2>&1 || fail "$(tail -5 "$T/log")"
prefix=$T/dest$(meson introspect "$build" --buildoptions | jq -r '.[] | select(.name == "prefix").value')

say "the list of files"
{
    for tool in $(grep -oE "'zl-[a-z]+'" "$support/../../tools/meson.build" | tr -d "'"); do
        echo "bin/$tool"
        echo "share/bash-completion/completions/$tool"
        echo "share/zsh/site-functions/_$tool"
        echo "share/fish/vendor_completions.d/$tool.fish"
    done
    for page in "$man"/*.scd; do
        page=$(basename "$page" .scd)
        echo "share/man/man${page##*.}/$page"
    done
    printf 'lib/systemd/system/zl-%s\n' {prune,push}@.{service,timer} walship@.service
} | sort >"$T/expected"
find "$prefix" ! -type d -printf '%P\n' | sort >"$T/found"
diff "$T/expected" "$T/found" >"$T/diff" || fail "missing (<) or unexpected (>): $(cat "$T/diff")"
[ "$(find "$T/dest" ! -type d | wc -l)" = "$(wc -l <"$T/found")" ] || fail "something is outside the prefix"

say "programs can be run, the rest cannot; nobody else may write"
find "$prefix/bin" -type f ! -perm 755 >"$T/wrong"
find "$prefix/lib" "$prefix/share" -type f ! -perm 644 >>"$T/wrong"
expect_empty "$T/wrong"
for tool in "$prefix"/bin/*; do
    [ "$("$tool" --version | cut -d' ' -f1)" = "$(basename "$tool")" ] || fail "$tool does not run"
done

say "nothing of the build's place is left in the scripts"
for pattern in "$(realpath "$build")" '@[A-Z]+@'; do
    expect_exit 1 grep -rE -- "$pattern" "$prefix/lib" "$prefix/share/bash-completion" "$prefix/share/zsh" \
        "$prefix/share/fish"
done
