#include "layer/file_access.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace zl {

namespace {

/// Calls @p get(buffer, size) as the xattr system calls want it: again with a bigger buffer on
/// ERANGE.
template <typename Get>
int read_growing(std::string& out, std::size_t first_try, Get get) {
    constexpr std::size_t kMax = 1 << 20; // XATTR_SIZE_MAX and XATTR_LIST_MAX are 64 KiB
    for (std::size_t size = first_try; size <= kMax; size *= 8) {
        out.resize(size);
        const ssize_t n = get(out.data(), out.size());
        if (n >= 0) {
            out.resize(static_cast<std::size_t>(n));
            return 0;
        }
        if (errno != ERANGE)
            return errno;
    }
    return E2BIG;
}

template <typename List, typename Get>
int read_all_xattrs(std::vector<Xattr>& xattrs, List list, Get get) {
    xattrs.clear();
    std::string names;
    if (const int err = read_growing(names, 512, list))
        return err == ENOTSUP ? 0 : err;
    int result = 0;
    for (std::size_t at = 0; at < names.size();) {
        Xattr x;
        x.name = names.c_str() + at;
        at += x.name.size() + 1;
        const int err = read_growing(x.value, 128, [&](char* buffer, std::size_t n) {
            return get(x.name.c_str(), buffer, n);
        });
        if (err == 0)
            xattrs.push_back(std::move(x));
        else if (err != ENODATA) // removed in between
            result = err;
    }
    std::ranges::sort(xattrs, {}, &Xattr::name);
    return result;
}

std::string proc_path(int dir_fd, const char* name) {
    return "/proc/self/fd/" + std::to_string(dir_fd) + "/" + name;
}

} // namespace

bool is_same_version(const FileMeta& a, const FileMeta& b) {
    return a.size == b.size && a.mtime == b.mtime && a.mtime_ns == b.mtime_ns &&
           a.ctime == b.ctime && a.ctime_ns == b.ctime_ns;
}

int stat_at(int fd, const char* name, FileMeta& m) {
    struct statx s;
    if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH, STATX_BASIC_STATS,
              &s) != 0)
        return errno;
    m.mode = s.stx_mode;
    m.uid = s.stx_uid;
    m.gid = s.stx_gid;
    m.nlink = s.stx_nlink;
    m.size = s.stx_size;
    m.blocks = s.stx_blocks;
    m.dev = makedev(s.stx_dev_major, s.stx_dev_minor);
    m.ino = s.stx_ino;
    m.mtime = s.stx_mtime.tv_sec;
    m.mtime_ns = s.stx_mtime.tv_nsec;
    m.ctime = s.stx_ctime.tv_sec;
    m.ctime_ns = s.stx_ctime.tv_nsec;
    m.dev_major = s.stx_rdev_major;
    m.dev_minor = s.stx_rdev_minor;
    m.is_mount_root = (s.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    return 0;
}

int open_at(int dir_fd, const char* name, int extra_flags, UniqueFd& fd) {
    const int flags =
        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOATIME | extra_flags;
    fd = UniqueFd(openat(dir_fd, name, flags));
    if (!fd && errno == EPERM) // O_NOATIME is the owner's and root's
        fd = UniqueFd(openat(dir_fd, name, flags & ~O_NOATIME));
    return fd ? 0 : errno;
}

int read_xattrs(int fd, std::vector<Xattr>& xattrs) {
    return read_all_xattrs(
        xattrs, [&](char* b, std::size_t n) { return flistxattr(fd, b, n); },
        [&](const char* x, char* b, std::size_t n) { return fgetxattr(fd, x, b, n); });
}

int read_xattrs_at(int dir_fd, const char* name, std::vector<Xattr>& xattrs) {
    const std::string path = proc_path(dir_fd, name);
    return read_all_xattrs(
        xattrs, [&](char* b, std::size_t n) { return llistxattr(path.c_str(), b, n); },
        [&](const char* x, char* b, std::size_t n) { return lgetxattr(path.c_str(), x, b, n); });
}

int read_link_at(int dir_fd, const char* name, std::string& target) {
    target.resize(PATH_MAX);
    const ssize_t n = readlinkat(dir_fd, name, target.data(), target.size());
    if (n < 0)
        return errno;
    target.resize(static_cast<std::size_t>(n));
    return 0;
}

int NameList::read(int dir_fd) {
    alignas(dirent64) char buffer[64 << 10];
    for (;;) {
        const ssize_t n = getdents64(dir_fd, buffer, sizeof buffer);
        if (n < 0)
            return errno;
        if (n == 0)
            return 0;
        for (ssize_t at = 0; at < n;) {
            const auto* d = reinterpret_cast<const dirent64*>(buffer + at);
            at += d->d_reclen;
            const std::string_view name = d->d_name;
            if (name != "." && name != "..")
                add(name, d->d_type);
        }
    }
}

void NameList::add(std::string_view name, std::uint8_t type) {
    entries_.push_back({text_.size(), static_cast<std::uint16_t>(name.size()), type});
    text_ += name;
}

void NameList::sort() {
    std::ranges::sort(entries_,
                      [this](const Entry& a, const Entry& b) { return name(a) < name(b); });
}

} // namespace zl
