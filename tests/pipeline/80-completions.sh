#!/bin/bash
# Goal: the completions of bash, zsh and fish know each tool's options, values and operands, and are
# made from what the tool itself prints.
. "$(dirname "$0")/../support/lib.sh"

source=$support/../../tools/completions
mkdir -p "$T"/{bash,zsh,fish,work,bin}
cd "$T/work"
mkdir dir-one 'dir two'
touch file.db 'other file'
# Not every shell gives a directory's name with its slash.
sorted() { sed -E 's/(dir-one|dir two)$/\1\//' | sort -u | paste -sd,; }

say "every tool has completions, with the options of --help"
tools=()
for path in "$ZL_BIN"/zl-*; do
    [ -f "$path" ] || continue
    tools+=("$(basename "$path")")
    ln -s "$path" "$T/bin" # a build directory has more that begins like them
done
PATH=$T/bin:${PATH#*:}
[ ${#tools[@]} -ge 6 ] || fail "tools not found"
for tool in $(grep -oE "'zl-[a-z]+'" "$source/../meson.build" | tr -d "'"); do
    [[ " ${tools[*]} " == *" $tool "* ]] || fail "$tool is built, but not in $ZL_BIN"
done
for tool in "${tools[@]}"; do
    $tool --print-options >"$T/$tool.options"
    python3 "$source/generate.py" bash $tool <"$T/$tool.options" >"$T/bash/$tool"
    python3 "$source/generate.py" zsh $tool <"$T/$tool.options" >"$T/zsh/_$tool"
    python3 "$source/generate.py" fish $tool <"$T/$tool.options" >"$T/fish/$tool.fish"
    $tool --help | grep -oE '^ +(-[A-Za-z], )?--[a-z-]+' | grep -oE -- '-[A-Za-z-]+' | sort >"$T/help"
    sed -n "s/.*compgen -W '\(-[^']*\)'.*/\1/p" "$T/bash/$tool" | tr ' ' '\n' | sort >"$T/names.bash"
    sed -nE "s/^ +'(\([^)]*\)|\*)(-[^[]*).*/\2/p" "$T/zsh/_$tool" | sed 's/[=+]$//' | sort >"$T/names.zsh"
    grep '^complete' "$T/fish/$tool.fish" | grep -oE -- ' -(l [a-z-]+|s [A-Za-z])' |
        sed 's/ -l /--/; s/ -s /-/' | sort >"$T/names.fish"
    for shell in bash zsh fish; do
        diff "$T/help" "$T/names.$shell" >"$T/diff" ||
            fail "$tool: in --help (<) or in $shell (>) only: $(grep '^[<>]' "$T/diff" | tr '\n' ' ')"
    done
    bash -n "$T/bash/$tool"
done

say "--print-options is for the build: not in --help, and not together with others"
expect_no_grep print-options <(zl-push --help)
expect_exit 64 zl-push --print-options -v
expect_exit 64 zl-push -v --print-options
echo nonsense | expect_exit 1 python3 "$source/generate.py" bash zl-push
expect_exit 1 python3 "$source/generate.py" bash zl-push </dev/null

# SHELL_completes WORD...: what SHELL offers for the last word, sorted, with commas between
bash_completes() {
    bash --norc -c '
        . "$1/bash/$2"
        [ -z "$ZL_TEST_HELPERS" ] || . /usr/share/bash-completion/bash_completion
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=$((${#COMP_LINE}))
        function=$(complete -p "$1" | sed "s/.*-F \([^ ]*\).*/\1/")
        $function "$1" "${@: -1}" "${@: -2:1}"
        printf "%s\n" "${COMPREPLY[@]}"' _ "$T" "$@" 2>/dev/null | sorted # compopt complains
}
fish_completes() {
    local words
    words=$(printf '%s ' "${@:1:$#-1}")${*: -1}
    fish --no-config -c 'set -p fish_complete_path $argv[1]; complete -C $argv[2]' "$T/fish" "$words" |
        cut -f1 | tr -d '\\' | sorted
}
zsh_completes() { python3 "$support/zshcomplete.py" "$T/zsh" "$@" | tr , '\n' | tr -d '\\' | sorted; }
gives() { # EXPECTED SHELL WORD...
    local want=$1 shell=$2 got
    shift 2
    got=$("${shell}_completes" "$@")
    [ "$got" = "$want" ] || fail "$shell: '$*' completes to '$got', expected '$want'"
}
completes() { # SHELL
    local shell=$1
    say "$shell: options, values, operands, commands"
    gives --name "$shell" zl-push --na
    gives --part-size,--prefix,--print-config,--progress "$shell" zl-push --p
    gives auto,json,text "$shell" zl-push --log-format ''
    gives oci,overlay "$shell" zl-pack --whiteouts o
    gives none "$shell" zl-walship --max-wal n
    gives 'dir two/,dir-one/' "$shell" zl-push --spool-dir d
    gives file.db "$shell" zl-push --state-db fi
    gives '' "$shell" zl-walship --max-wal S
    gives '' "$shell" zl-push --name d
    gives '' "$shell" zl-push d
    gives 'dir two/,dir-one/' "$shell" zl-pack ''
    gives file.db "$shell" zl-walship -v fi
    gives zl-unpack "$shell" zl-push -- zl-un
}

export ZL_TEST_HELPERS=
completes bash
[ "$(bash --norc -c 'compgen -c zl-pu' | sorted)" = zl-pull,zl-push ] || fail 'zl-pu'
gives oci bash zl-pack --whiteouts = oc
gives oci,overlay bash zl-pack --whiteouts =
gives 'dir two/,dir-one/,file.db,other file' bash zl-push -- zl-pack ''
gives 'dir two/,dir-one/' bash zl-pack -- d
if [ -e /usr/share/bash-completion/bash_completion ]; then
    say "bash: the command after -- completes as itself"
    ZL_TEST_HELPERS=1 gives --raw bash zl-push -- zl-push --ra
    ZL_TEST_HELPERS=1 gives zl-unpack bash zl-push -- zl-un
fi
if command -v fish >/dev/null; then
    for tool in "${tools[@]}"; do
        fish --no-execute "$T/fish/$tool.fish" 2>"$ERR" || fail "$tool: $(cat "$ERR")"
        expect_empty "$ERR"
    done
    completes fish
    gives --whiteouts=oci,--whiteouts=overlay fish zl-pack --whiteouts=
    gives --raw fish zl-push -- zl-push --ra
fi
if command -v zsh >/dev/null; then
    for tool in "${tools[@]}"; do zsh -n "$T/zsh/_$tool"; done
    completes zsh
    gives oci,overlay zsh zl-pack --whiteouts=
    gives --raw zsh zl-push -- zl-push --ra
fi
