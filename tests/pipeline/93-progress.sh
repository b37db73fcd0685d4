#!/bin/bash
# Goal: the line of progress on terminals of every width: it never wraps, says the more the more room
# there is, is drawn by one tool of a pipeline only, with one write and without escape sequences, and
# what is said meanwhile stands on lines of its own.
. "$(dirname "$0")/../support/lib.sh"

mkdir "$T/tree"
head -c 8000000 /dev/urandom >"$T/tree/noise"
zl-pack "$T/tree" >"$T/layer"
slowly() { # in about 2 s
    for i in 0 1 2 3 4 5 6; do
        tail -c +$((i * 1000000 + 1)) "$T/layer" | head -c 1000000
        sleep 0.3
    done
    tail -c +7000001 "$T/layer"
}
export -f slowly
export T TERM=xterm
at_columns() { # COLUMNS COMMAND
    SHELL=/bin/bash script -qec "stty cols $1; $2" /dev/null </dev/null >"$OUT" 2>&1 || fail "$2: $(cat "$OUT")"
}
# drawn COLUMNS: what was drawn, a line each; fails if one would have wrapped.
drawn() {
    python3 - "$1" "$OUT" <<'PY'
import re
import sys
columns, text = int(sys.argv[1]), open(sys.argv[2], 'rb').read().decode()
assert '\033' not in text, 'an escape sequence'
drawn = []
for line in text.split('\n'):
    pieces = line.rstrip('\r').split('\r')
    for piece in pieces:
        assert len(piece) < columns or 'sha256' in piece or ':' in piece[:10], \
            'wraps at %d: %r' % (columns, piece)
    drawn += [p.rstrip() for p in pieces[1:] if p.strip()]
print('\n'.join(drawn))
PY
}

for columns in 200 80 40 20 8; do
    say "$columns columns"
    at_columns $columns 'slowly | zl-push --force >/dev/null'
    drawn $columns >"$T/drawn"
    [ "$(wc -l <"$T/drawn")" -ge 4 ] || fail "drawn too seldom: $(cat "$T/drawn")"
    [ "$(wc -l <"$T/drawn")" -le 30 ] || fail "drawn too often: $(wc -l <"$T/drawn") times in 2 s"
    expect_grep '[0-9]' "$T/drawn"
    case $columns in
    200 | 80 | 40) expect_grep '^[a-z]+ [0-9.]+ MiB, [0-9.]+ [KM]?i?B/s$' "$T/drawn" ;;
    20) expect_grep '^[a-z]+ [0-9.]+ MiB$' "$T/drawn" ;;
    8) expect_grep '^[0-9.]+ Mi?B?$' "$T/drawn" ;;
    esac
    [ -z "$(uniq -d "$T/drawn")" ] || fail "the same line was drawn again: it flickers"
done

say "of a pipeline only the last stage draws"
zl-push -q --name web1 <"$T/layer" >"$T/.digest"
# Each holds its line back though there is time to draw it, as the second run shows.
for how in '' '--progress always'; do
    at_columns 80 "zl-pack $how \$T/tree | (sleep 1.2; cat) | zl-push --progress never --force >/dev/null"
    cp "$OUT" "$T/packed"
    at_columns 80 "zl-pull $how web1 | (sleep 1.2; cat) | zl-unpack --progress never -C \$T/out; rm -r \$T/out"
    if [ -z "$how" ]; then
        expect_empty "$T/packed"
        expect_empty "$OUT"
    else
        expect_grep 'packing' "$T/packed"
        expect_grep 'fetching' "$OUT"
    fi
done

say "a dumb terminal, NO_COLOR, and nothing that is left behind"
at_columns 80 'slowly | TERM=dumb zl-push --force >/dev/null'
expect_empty "$OUT"
at_columns 80 'slowly | NO_COLOR=1 zl-push --force >/dev/null'
drawn 80 >"$T/drawn"
[ -s "$T/drawn" ]
[ -z "$(sed 's/.*\r//' "$OUT")" ] || fail "left behind: $(od -c "$OUT" | tail -3)"

say "a message in between has a line of its own"
mkdir "$T/part"
mkfifo "$T/usr1"
at_columns 80 'slowly | zl-push --force >/dev/null & sleep 1; kill -USR1 $!; wait'
expect_grep $'\rzl-push: [a-z]+ [0-9.]+ [KM]?i?B, [^\r]*\r$' "$OUT"
drawn 80 >/dev/null
