#include "layer/beneath.hpp"

#include "base/error.hpp"
#include "base/handle.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace zl {

namespace {

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
/// Longest piece given to one call; PATH_MAX is 4096 with its NUL.
constexpr std::size_t kPiece = 4000;

int openat2_beneath(int dir, const std::string& path) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(kDirFlags);
    how.resolve =
        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
    for (;;) {
        const long fd = ::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            return static_cast<int>(fd);
    }
}

/// Old kernels say ENOSYS; seccomp filters that do not know the call say EPERM.
bool openat2_missing(int error) { return error == ENOSYS || error == EPERM; }

/// The end of the longest prefix of @p path, at most kPiece bytes, that ends on a component.
std::size_t piece_end(std::string_view path) {
    if (path.size() <= kPiece)
        return path.size();
    return path.rfind('/', kPiece); // components are at most 255 bytes
}

/// Opens piece by piece with @p open_piece(dir, piece).
template <typename Open> UniqueFd walk(int root, std::string_view path, Open open_piece) {
    UniqueFd here;
    int dir = root;
    do {
        const std::size_t end = path.empty() ? 0 : piece_end(path);
        if (end == std::string_view::npos) {
            errno = ENAMETOOLONG;
            return {};
        }
        UniqueFd next(open_piece(dir, end == 0 ? "." : std::string(path.substr(0, end))));
        if (!next)
            return {};
        here = std::move(next);
        dir = here.get();
        path.remove_prefix(end < path.size() ? end + 1 : end);
    } while (!path.empty());
    return here;
}

std::uint64_t mount_id(int fd) {
    struct statx st{};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) != 0)
        return 0;
    return (st.stx_mask & STATX_MNT_ID) != 0 ? st.stx_mnt_id
                                             : makedev(st.stx_dev_major, st.stx_dev_minor);
}

} // namespace

UniqueFd open_dir_stepwise(int root, std::string_view path) {
    UniqueFd here(::openat(root, ".", kDirFlags));
    const std::uint64_t mount = here ? mount_id(here.get()) : 0;
    while (here && !path.empty()) {
        const auto slash = path.find('/');
        const std::string part(path.substr(0, slash));
        if (part.empty() || part == "..") {
            errno = EINVAL;
            return {};
        }
        here = UniqueFd(::openat(here.get(), part.c_str(), kDirFlags));
        if (here && mount_id(here.get()) != mount) {
            errno = EXDEV;
            return {};
        }
        path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    }
    return here;
}

UniqueFd open_dir_beneath(int root, std::string_view path) {
    UniqueFd fd = walk(root, path, openat2_beneath);
    if (!fd && openat2_missing(errno))
        return open_dir_stepwise(root, path);
    return fd;
}

std::optional<FoundFile> look_at(int dir, const std::string& name) {
    struct statx st{};
    if (::statx(dir, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
                STATX_TYPE | STATX_MODE | STATX_MTIME, &st) != 0) {
        if (errno == ENOENT)
            return std::nullopt;
        throw sys_error("stat " + name).with_kind(ErrorKind::io);
    }
    FoundFile found;
    found.mode = st.stx_mode & 07777;
    found.mtime = st.stx_mtime.tv_sec;
    found.mtime_ns = st.stx_mtime.tv_nsec;
    if (S_ISDIR(st.stx_mode))
        found.kind = FileKind::directory;
    else if (S_ISLNK(st.stx_mode))
        found.kind = FileKind::symlink;
    else if (S_ISCHR(st.stx_mode) && st.stx_rdev_major == 0 && st.stx_rdev_minor == 0)
        found.kind = FileKind::whiteout;
    found.mount_point = (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    return found;
}

void list_dir(int dir, const std::function<bool(const std::string& name)>& visit) {
    UniqueFd fd(::openat(dir, ".", kDirFlags));
    if (!fd)
        throw sys_error("read directory").with_kind(ErrorKind::io);
    const Handle<DIR, ::closedir> stream(::fdopendir(fd.get()));
    if (!stream)
        throw sys_error("read directory").with_kind(ErrorKind::io);
    fd.release();
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(stream.get());
        if (!entry && errno != 0)
            throw sys_error("read directory").with_kind(ErrorKind::io);
        if (!entry)
            return;
        const std::string name = entry->d_name;
        if (name != "." && name != ".." && !visit(name))
            return;
    }
}

SplitPath split_path(std::string_view path) {
    const auto slash = path.rfind('/');
    if (slash == std::string_view::npos)
        return {{}, path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

namespace {

UniqueFd open_for_removal(int dir, const std::string& name) {
    UniqueFd fd = open_dir_beneath(dir, name);
    if ((!fd && errno == EACCES) || (fd && ::faccessat(fd.get(), ".", W_OK | X_OK, 0) != 0)) {
        // A directory of our own that denies us what we need; for root this never happens. Where
        // this fails, so does what follows.
        [[maybe_unused]] int ignored = ::fchmodat(dir, name.c_str(), 0700, 0);
        fd = open_dir_beneath(dir, name);
    }
    if (!fd)
        throw sys_error("remove " + name).with_kind(ErrorKind::io);
    return fd;
}

/// Removes what is not a directory, or an empty one. False: a directory with something in it.
bool remove_simple(int dir, const std::string& name) {
    if (::unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT)
        return true;
    // Linux says EISDIR for directories, POSIX EPERM.
    if (errno != EISDIR && errno != EPERM)
        throw sys_error("remove " + name).with_kind(ErrorKind::io);
    if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT)
        return true;
    if (errno != ENOTEMPTY && errno != EEXIST && errno != EACCES)
        throw sys_error("remove " + name).with_kind(ErrorKind::io);
    return false;
}

/// Removes what is below a directory. Deep parts are first moved up to the top, so that neither
/// descriptors nor the stack run out.
class Remover {
public:
    explicit Remover(int top) : top_(top) {}
    void run() { clear(top_, 0); }

private:
    static constexpr int kMaxDepth = 64;
    static constexpr std::size_t kBatch = 1024;

    void clear(int dir, int depth) {
        // Names first: removing while reading may skip entries on some file systems.
        for (;;) {
            std::vector<std::string> names;
            list_dir(dir, [&](const std::string& name) {
                names.push_back(name);
                return names.size() < kBatch;
            });
            if (names.empty())
                return;
            for (const auto& name : names)
                remove(dir, name, depth);
        }
    }

    void remove(int dir, const std::string& name, int depth) {
        if (remove_simple(dir, name))
            return;
        UniqueFd fd = open_for_removal(dir, name);
        if (depth >= kMaxDepth)
            return lift(dir, name); // the loop over the top meets it again
        clear(fd.get(), depth + 1);
        if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
            throw sys_error("remove " + name).with_kind(ErrorKind::io);
    }

    void lift(int dir, const std::string& name) {
        for (;; ++next_name_) {
            const std::string up = ".zl-rm-" + std::to_string(next_name_);
            if (::renameat2(dir, name.c_str(), top_, up.c_str(), RENAME_NOREPLACE) == 0)
                return;
            if (errno != EEXIST)
                throw sys_error("remove " + name).with_kind(ErrorKind::io);
        }
    }

    int top_;
    std::uint64_t next_name_ = 0;
};

} // namespace

void remove_tree(int dir, const std::string& name) {
    if (remove_simple(dir, name))
        return;
    const UniqueFd top = open_for_removal(dir, name);
    Remover(top.get()).run();
    if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
        throw sys_error("remove " + name).with_kind(ErrorKind::io);
}

} // namespace zl
