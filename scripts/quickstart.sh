#!/bin/bash
# quickstart.sh  -- installs what is missing, builds into ./build, and shows the main job: a directory
# goes into a store as one compressed layer and comes back; a live SQLite database is replicated and
# comes back. The store is a temporary directory, or what ZL_STORE names (s3://BUCKET/...), where the
# demo removes nothing. Can be run again at any time.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
scripts/install-deps.sh build
command -v getfattr >/dev/null && command -v setfattr >/dev/null && attr=1 || attr=

log=$(mktemp)
echo "building into $top/build ..."
{
    [ -e build/build.ninja ] || meson setup build --buildtype=release -Dtests=false
    ninja -C build
} >"$log" 2>&1 || {
    tail -40 "$log"
    exit 1
}
rm -f "$log"
export PATH=$top/build/tools:$PATH

demo=$(mktemp -d "${TMPDIR:-/tmp}/zl-demo.XXXXXX")
shipper=
trap '[ -z "$shipper" ] || kill "$shipper" 2>/dev/null || true; rm -rf "$demo"' EXIT
export ZL_STORE=${ZL_STORE:-file://$demo/store} ZL_STATE_DIR=${ZL_STATE_DIR:-$demo/state}

# A tree with a little of everything, like the upper directory of a container.
mkdir -p "$demo"/upper/{app/data,empty}
seq 1 200000 >"$demo/upper/app/log.txt"
ln "$demo/upper/app/log.txt" "$demo/upper/app/hardlink"
ln -s app/log.txt "$demo/upper/symlink"
truncate -s 64M "$demo/upper/app/data/sparse"
echo 'data behind a hole' >>"$demo/upper/app/data/sparse"
chmod 4750 "$demo/upper/app/hardlink"
touch -d 1969-07-20T20:17:40.123456789Z "$demo/upper/app/data"
[ -z "$attr" ] || setfattr -n user.comment -v 'an extended attribute' "$demo/upper/app/log.txt" || true
[ "$(id -u)" != 0 ] || mknod -m 0 "$demo/upper/app/deleted-file" c 0 0 # an overlay's whiteout

run() {
    printf '\n$ %s\n' "$1"
    (cd "$demo" && bash -o pipefail -c "$1")
}
echo
echo "store: $ZL_STORE"
run 'zl-pack upper | zl-push --name demo/web1'
run 'zl-pull demo/web1 | zl-unpack -C restored'
run 'zl-pull demo/web1 | zstd -dc | tar -tv | sed -n 1,20p'
run 'zl-pack upper | zl-push -v --name demo/web1'

# An independent comparison, with nothing of ours: names, types, modes, owners, times, link counts,
# device numbers, allocated blocks; then contents; then attributes.
# Of a whiteout only its being one is kept: name and device number.
facts() {
    (cd "$1" && find . ! -type c -printf '%p %y %m %U %G %T@ %n %s %l\n' | sort &&
        find . -type f -exec sha256sum {} + | sort -k2 &&
        { [ -z "$attr" ] || getfattr -R -d -m - . 2>/dev/null || true; } &&
        find . -type c -exec stat -c '%n %t:%T' {} + | sort)
}
facts "$demo/upper" >"$demo/before"
facts "$demo/restored" >"$demo/after"
echo
if diff "$demo/before" "$demo/after"; then
    echo "The restored tree is the same: $(find "$demo/upper" | wc -l) entries, compared by find," \
        "sha256sum$([ -z "$attr" ] || echo ", getfattr") and stat."
    blocks=$(du -s --block-size=1K "$demo/restored" | cut -f1)
    echo "It takes $blocks KiB on disk; its sparse file of 64 MiB is still one."
else
    echo "The restored tree differs." >&2
    exit 1
fi

# A database that an application writes to all the time. Its name in the store is of this run only.
name=demo/app-$(date -u +%Y%m%dT%H%M%SZ)
echo
echo "Now a live SQLite database, $name:"
run 'sqlite3 app.db "PRAGMA journal_mode = wal; CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)"'
printf '\n$ zl-walship --name %s app.db &\n' "$name"
zl-walship --name "$name" "$demo/app.db" &
shipper=$!
for i in $(seq 300); do
    sqlite3 -cmd '.timeout 5000' "$demo/app.db" "INSERT INTO orders (item) VALUES ('order $i')"
done
run 'zl-walship --flush app.db && zl-walship --status app.db'
kill -KILL "$shipper" # the host is gone, with the disk
wait "$shipper" 2>/dev/null || true
shipper=
sqlite3 "$demo/app.db" .dump >"$demo/before"
rm -rf "$demo"/app.db*
run "zl-restore --list $name && zl-restore -o app.db $name"
sqlite3 "$demo/app.db" .dump >"$demo/after"
echo
if cmp "$demo/before" "$demo/after"; then
    echo "The restored database has the same dump:" \
        "$(sqlite3 "$demo/app.db" 'SELECT count(*) FROM orders') orders."
else
    echo "The restored database differs." >&2
    exit 1
fi
echo
echo "The tools are in $top/build/tools: zl-pack, zl-push, zl-pull, zl-unpack, zl-walship, zl-restore, zl-ls."
