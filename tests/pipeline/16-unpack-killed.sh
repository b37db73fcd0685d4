#!/bin/bash
# Goal: DIR is either as before or complete, wherever zl-unpack is killed; the next run needs no help.
. "$(dirname "$0")/../support/lib.sh"

mktree --only files "$T/tree"
zl-pack "$T/tree" >"$T/layer"
# All crash points of the code; each must really be met by one of the ways to unpack.
mapfile -t points < <(grep -rhoE '"unpack\.[a-z_-]+"' "$support/../../lib" | tr -d '"' | sort -u)
[ ${#points[@]} -ge 3 ] || fail "no crash points found"
: >"$T/met"
expect_clean() { # DIR: nothing of ours beside it or in it
    [ -z "$(find "$(dirname "$1")" -maxdepth 1 -name '*zl-*' ! -name 'zl-16*')" ] ||
        fail "left beside: $(ls -A "$(dirname "$1")")"
    [ -z "$(find "$1" -maxdepth 1 -name '.zl-*')" ] || fail "left inside: $(ls -A "$1")"
}

say "into an absent directory"
mkdir "$T/w"
for point in "${points[@]}"; do
    code=0
    ZL_CRASH_AT=$point zl-unpack -C "$T/w/d" <"$T/layer" 2>"$ERR" || code=$?
    [ $code = 0 ] || echo "$point" >>"$T/met"
    [ $code = 137 ] || [ $code = 0 ] || fail "$point: exit $code"
    if [ -e "$T/w/d" ]; then
        [ $code = 0 ] || zl-unpack --check -C "$T/w/d" || fail "$point: there, but incomplete"
        same_tree "$T/tree" "$T/w/d"
        rm -rf "$T/w/d"
    fi
    zl-unpack -C "$T/w/d" <"$T/layer"
    same_tree "$T/tree" "$T/w/d"
    expect_clean "$T/w/d"
    rm -rf "$T/w"/d
done

say "with --merge: as before, or a run away from complete"
mkdir "$T/before"
echo old >"$T/before/text"
echo mine >"$T/before/mine"
cp -a "$T/tree" "$T/after"
cp -a "$T/before/mine" "$T/after/mine"
touch -r "$T/tree" "$T/after"
for point in "${points[@]}"; do
    rm -rf "$T/w"
    mkdir "$T/w"
    cp -a "$T/before" "$T/w/d"
    code=0
    ZL_CRASH_AT=$point zl-unpack --merge -C "$T/w/d" <"$T/layer" 2>"$ERR" || code=$?
    [ $code = 0 ] || echo "$point" >>"$T/met"
    check=0
    zl-unpack --check -C "$T/w/d" || check=$?
    if [ $check = 0 ]; then
        walker --ignore-path '.zl-*' --ignore mtime "$T/before" "$T/w/d" >/dev/null ||
            same_tree --ignore-path '.zl-*' "$T/after" "$T/w/d"
    else
        [ $check = 1 ] || fail "$point: --check says $check"
        [ $code = 137 ] || fail "$point: exit $code, but incomplete"
    fi
    zl-unpack --merge -C "$T/w/d" <"$T/layer"
    zl-unpack --check -C "$T/w/d"
    same_tree --ignore alloc "$T/after" "$T/w/d"
    expect_clean "$T/w/d"
done

say "with --merge --whiteouts apply: deletions"
mkdir "$T/wtree"
touch "$T/wtree/.wh.mine"
echo new >"$T/wtree/text"
tar -C "$T/wtree" -c . | zstd -q >"$T/wlayer"
for point in "${points[@]}"; do
    rm -rf "$T/w"
    mkdir "$T/w"
    cp -a "$T/before" "$T/w/d"
    code=0
    ZL_CRASH_AT=$point zl-unpack --foreign --merge --whiteouts apply -C "$T/w/d" <"$T/wlayer" \
        2>"$ERR" || code=$?
    [ $code = 0 ] || echo "$point" >>"$T/met"
    if zl-unpack --check -C "$T/w/d" 2>"$ERR"; then
        case "$(cat "$T/w/d/text") $(cat "$T/w/d/mine" 2>/dev/null)" in
        'old mine' | 'new ') ;;
        *) fail "$point: neither before nor after" ;;
        esac
    fi
    zl-unpack --foreign --merge --whiteouts apply -C "$T/w/d" <"$T/wlayer" 2>"$ERR"
    [ "$(cat "$T/w/d/text")" = new ]
    [ ! -e "$T/w/d/mine" ]
    expect_clean "$T/w/d"
done

say "into a mount point"
if [ "$(id -u)" = 0 ]; then
    for point in "${points[@]}"; do
        rm -rf "$T/w"
        mkdir -p "$T/w/d"
        mount -t tmpfs none "$T/w/d"
        chmod 700 "$T/w/d"
        code=0
        ZL_CRASH_AT=$point zl-unpack -C "$T/w/d" <"$T/layer" 2>"$ERR" || code=$?
        [ $code = 0 ] || echo "$point" >>"$T/met"
        check=0
        zl-unpack --check -C "$T/w/d" || check=$?
        if [ $check = 0 ] && [ $code = 137 ]; then
            [ -z "$(ls -A "$T/w/d" | grep -v '^\.zl-unpack$')" ] ||
                same_tree --ignore-path '.zl-*' "$T/tree" "$T/w/d"
        fi
        # What ended well is not unpacked twice: 73. What was killed is finished.
        [ $code = 0 ] || zl-unpack -C "$T/w/d" <"$T/layer"
        same_tree "$T/tree" "$T/w/d"
        expect_clean "$T/w/d"
        umount "$T/w/d"
    done
fi
for point in "${points[@]}"; do
    grep -qx "$point" "$T/met" || fail "$point was never met"
done

say "killed at any moment"
for i in $(seq 12); do
    rm -rf "$T/w"
    mkdir "$T/w"
    # In the foreground: else it kills itself as well, before zl-unpack has ended (and let go of its stage).
    timeout --foreground -s KILL 0.0$((RANDOM % 9 + 1)) zl-unpack -C "$T/w/d" <"$T/layer" 2>/dev/null || true
    [ ! -e "$T/w/d" ] || same_tree "$T/tree" "$T/w/d"
    rm -rf "$T/w/d"
    zl-unpack -C "$T/w/d" <"$T/layer"
    same_tree "$T/tree" "$T/w/d"
    expect_clean "$T/w/d"
done
