#!/bin/bash
# Goal: an upper directory whose content lies partly in the lower one (redirect_dir, metacopy) is
# refused with the way out, or packed whole with --lower; never NUL bytes or missing trees.
. "$(dirname "$0")/../support/lib.sh"
need_root "overlay mounts"

mkdir -p "$T/lower/dir/sub" "$T/m"
head -c 4000000 /dev/urandom >"$T/lower/big"
head -c 5000 /dev/urandom >"$T/lower/dir/sub/file"
echo x >"$T/lower/dir/other"
overlay() { # UPPER OPTIONS
    mkdir -p "$1" "$1.work"
    mount -t overlay overlay -o "lowerdir=$T/lower,upperdir=$1,workdir=$1.work,$2" "$T/m"
}
refused() { # UPPER PATTERN
    code=0
    zl-pack -o "$T/layer" "$1" 2>"$ERR" || code=$?
    [ $code != 0 ] && [ $code != 3 ] || fail "exit $code"
    expect_grep "$2" "$ERR"
    expect_grep '--lower|redirect_dir=off|metacopy=off' "$ERR"
    [ ! -e "$T/layer" ]
}
whole() { # UPPER: with --lower the merged view is the same, over the same lower directory
    mkdir "$T/merged"
    cp -a "$T/m/." "$T/merged"
    umount "$T/m"
    refused "$1" "$2"
    zl-pack --lower "$T/lower" "$1" | zl-unpack -C "$1.back"
    overlay "$1.back" redirect_dir=off,metacopy=off
    same_tree --ignore mtime "$T/merged" "$T/m"
    umount "$T/m"
    rm -r "$T/merged"
}

say "metacopy"
overlay "$T/u1" metacopy=on,redirect_dir=on
chmod 600 "$T/m/big"
whole "$T/u1" big

say "redirect_dir"
overlay "$T/u2" redirect_dir=on
mv "$T/m/dir" "$T/m/renamed"
rm "$T/m/renamed/other"
echo new >"$T/m/renamed/sub/new"
whole "$T/u2" renamed

say "both, and a file renamed under metacopy"
overlay "$T/u3" redirect_dir=on,metacopy=on
mv "$T/m/big" "$T/m/bigger"
chmod 600 "$T/m/bigger"
mv "$T/m/dir" "$T/m/dir2"
whole "$T/u3" 'bigger|dir2'
