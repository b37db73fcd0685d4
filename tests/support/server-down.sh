#!/bin/bash
# server-down.sh DIR  -- stops what rgw-up.sh or swift-up.sh started in DIR (the sessions listed in
# DIR/pids, nothing else) and removes DIR. Nothing in there is worth a slow, orderly end.
set -u
dir=$1
[ -f "$dir/pids" ] || exit 0
running() { # a zombie that its parent has not reaped yet is not running
    [[ $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) == [!Z]* ]]
}
tac "$dir/pids" | while read -r _ pid; do
    kill -KILL -- "-$pid" 2>/dev/null
    for _ in $(seq 1 50); do
        running "$pid" || break
        sleep 0.1
    done
done
rm -rf "$dir"
