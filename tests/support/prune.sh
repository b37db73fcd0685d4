# prune.sh  -- for tests of zl-prune, after lib.sh: layers with chosen times, and what a store holds.
# Times of the grace period are shortened by ZL_TEST_GRACE where the age of a mark matters.
# shellcheck shell=bash

# small_layer N: a layer that differs for each N, in $T/layers/N; prints the file
small_layer() {
    mkdir -p "$T/layers" "$T/trees/$1"
    [ -e "$T/layers/$1" ] || {
        head -c 20000 /dev/urandom >"$T/trees/$1/f"
        zl-pack -o "$T/layers/$1" "$T/trees/$1"
    }
    echo "$T/layers/$1"
}
# push_at NAME TIME N: layer N as if it had been pushed then (key form); directory store only
push_at() {
    local digest new dir=${ZL_STORE#file://}/layers/refs/$1
    digest=$(zl-push --name "$1" <"$(small_layer "$3")")
    digest=${digest#sha256:}
    new=$(find "$dir" -maxdepth 1 -name "*-${digest:0:12}.json" -newermt '-5 seconds' | sort | tail -1)
    mv "$new" "$dir/$2-${digest:0:12}.json"
    digest_of[$3]=$digest
}
declare -A digest_of
# refs_of NAME: times of its refs, oldest first, on one line
refs_of() {
    store_list "layers/refs/$1/" | sed -nE "s|^[0-9]+ layers/refs/$1/([^/]+)-[0-9a-f]{12}\.json\$|\1|p" | xargs
}
layer_there() { store_list "layers/$1" | grep -q '\.tar\.zst$'; }
mark_there() { store_list "layers/$1" | grep -q '\.doomed$'; }
# every_ref_pulls: each ref that is listed leads to the layer (or raw bytes) that it names
every_ref_pulls() {
    local key digest n=0
    for key in $(store_list layers/refs/ | sed 's/^[0-9]* //' | grep -E -- '-[0-9a-f]{12}\.json$'); do
        digest=${key##*-}
        zl-pull "${digest%.json}" >"$T/pulled"
        { zstd -dqc "$T/pulled" | sha256sum; sha256sum <"$T/pulled"; } |
            grep "^${digest%.json}" >/dev/null || fail "$key pulls wrong"
        n=$((n + 1))
    done
    [ $n -gt 0 ] || fail "no refs at all"
}
# a store's keys and sizes, to see that nothing changed
store_picture() { store_list ''; }
