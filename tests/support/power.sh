# power.sh  -- cuts the power of a disk; source it after lib.sh. The disk is a file system of its own
# at $T/disk (its image: $T/disk.img). A cut keeps what the kernel had given to the device and nothing
# of what it only held in memory: a write without fsync, a rename without fsync of its directory.
# shellcheck shell=bash

# disk_up [MIB]: a new, empty disk. The journal is not written by a timer, only when someone asks, so that
# what nobody asked for is lost. ZL_TEST_FS=btrfs (or xfs): another file system than ext4.
disk_up() {
    local fs=${ZL_TEST_FS:-ext4}
    ! mountpoint -q "$T/disk" 2>/dev/null || umount "$T/disk"
    rm -f "$T/disk.img"
    truncate -s "${1:-320}M" "$T/disk.img"
    case $fs in
    ext4) mkfs.ext4 -q -b 4096 "$T/disk.img" ;; # of 1 KiB it holds no long symbolic links
    *) "mkfs.$fs" -q "$T/disk.img" >"$T/.mkfs" ;;
    esac
    mkdir -p "$T/disk"
    disk_mount
    sync -f "$T/disk"
}
disk_mount() {
    case ${ZL_TEST_FS:-ext4} in
    xfs) mount -o loop,nouuid "$T/disk.img" "$T/disk" ;;
    *) mount -o loop,commit=600 "$T/disk.img" "$T/disk" ;;
    esac
}
# power_cut [PID]...: these processes end where they are, the disk comes back as it was at that moment
power_cut() {
    local pid
    for pid; do kill -STOP "$pid" 2>/dev/null || true; done
    # Nobody is inside of a system call: the copy is of one moment.
    for pid; do within 10 stopped "$pid"; done
    cp --sparse=always "$T/disk.img" "$T/disk.cut"
    for pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    umount "$T/disk"
    mv "$T/disk.cut" "$T/disk.img"
    disk_mount
}
stopped() {
    [ -d "/proc/$1" ] || return 0
    ! sed 's/.*) //' "/proc/$1"/task/*/stat 2>/dev/null | grep -qv '^[TtZX]'
}
