#include "layer/file_attributes.hpp"

#include "base/error.hpp"
#include "layer/overlay_marks.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace zl {

namespace {

constexpr std::string_view kCapability = "security.capability";

/// Not allowed to us, or not known to this file system: to be counted, not to fail for.
/// EINVAL: an id without a mapping in this user namespace, a value that this kernel refuses.
bool is_refusal(int error) {
    return error == EPERM || error == EACCES || error == ENOTSUP || error == EINVAL ||
           error == ENODATA || error == E2BIG || error == ERANGE || error == EOVERFLOW;
}

/// ext4 says ENOSPC for an xattr that does not fit its inode; then the disk is not full.
bool has_free_space(int fd) {
    struct statvfs st{};
    return ::fstatvfs(fd, &st) == 0 && st.f_bavail > 256 && (st.f_files == 0 || st.f_favail > 0);
}

std::string xattr_kind(std::string_view name) {
    if (name == kCapability)
        return "file capabilities";
    if (name.starts_with("system.posix_acl_"))
        return "ACLs";
    return std::string(name.substr(0, name.find('.'))) + ".* xattrs";
}

[[noreturn]] void fail(const char* what, const TarEntry& entry) {
    throw sys_error(std::string(what) + " " + show_path(entry.path)).with_kind(ErrorKind::io);
}

timespec mtime_of(const TarEntry& entry) {
    return {static_cast<time_t>(entry.mtime), static_cast<long>(entry.mtime_ns)};
}

} // namespace

void Losses::add(const std::string& kind, std::string_view path, std::string_view reason) {
    ++counts_[kind];
    std::string message = show_path(path) + ": " + kind + " not restored";
    if (!reason.empty())
        message.append(": ").append(reason);
    log_.info(message);
}

void Losses::summary() {
    if (counts_.empty())
        return;
    std::string list;
    for (const auto& [kind, count] : counts_)
        list += (list.empty() ? "" : ", ") + std::to_string(count) + " " + kind;
    log_.warn("could not restore: " + list + " (-v names them)");
}

AttributeWriter::AttributeWriter(AttributeOptions options, Losses& losses)
    : options_(options), losses_(losses), euid_(::geteuid()), egid_(::getegid()) {}

bool AttributeWriter::wants_chown(const TarEntry& e) const {
    return options_.same_owner && (e.uid != euid_ || e.gid != egid_);
}

std::uint32_t AttributeWriter::final_mode(const TarEntry& e, bool owned) const {
    if (owned)
        return e.mode;
    // A setuid program of somebody else must not become one of ours.
    std::uint32_t mode = e.mode;
    if (e.uid != euid_)
        mode &= ~std::uint32_t{S_ISUID};
    if (e.gid != egid_ && e.type != EntryType::directory)
        mode &= ~std::uint32_t{S_ISGID};
    if (mode != e.mode && options_.same_owner)
        losses_.add("setuid/setgid bits", e.path, "its owner is not restored");
    return mode;
}

std::uint32_t AttributeWriter::creation_mode(const TarEntry& e) const {
    // user.* xattrs need write permission, which root has anyway.
    const bool needs_write = !e.xattrs.empty() && euid_ != 0;
    return needs_write ? 0600 : e.mode & 0777;
}

void AttributeWriter::lose_xattr(const TarEntry& e, const Xattr& x, int error, int fd) {
    if (!is_refusal(error) && !(error == ENOSPC && has_free_space(fd))) {
        errno = error;
        fail("set xattr of", e);
    }
    losses_.add(xattr_kind(x.name), e.path, show_path(x.name) + ": " + std::strerror(error));
}

void AttributeWriter::set_xattrs(const TarEntry& e, int fd, const std::string& proc_path) {
    const auto set = [&](const Xattr& x) {
        const int rc = proc_path.empty()
                           ? ::fsetxattr(fd, x.name.c_str(), x.value.data(), x.value.size(), 0)
                           : ::lsetxattr(proc_path.c_str(), x.name.c_str(), x.value.data(),
                                         x.value.size(), 0);
        // ENOENT: /proc is not mounted.
        if (rc != 0)
            lose_xattr(e, x, !proc_path.empty() && errno == ENOENT ? ENOTSUP : errno, fd);
    };
    for (const auto& x : e.xattrs)
        if (x.name != kCapability)
            set(x);
    for (const auto& x : e.xattrs) // last: some xattrs' handlers clear capabilities
        if (x.name == kCapability)
            set(x);
    for (const auto& lost : e.lost)
        losses_.add("ACL entries", e.path, lost);
}

void AttributeWriter::restore(int fd, const TarEntry& e, std::uint32_t mode_now) {
    bool owned = options_.same_owner || (e.uid == euid_ && e.gid == egid_);
    if (wants_chown(e) && ::fchown(fd, e.uid, e.gid) != 0) {
        if (!is_refusal(errno))
            fail("chown", e);
        losses_.add("owners", e.path, std::strerror(errno));
        owned = false;
        // The group alone is often allowed; -1 leaves the user as it is.
        if (::fchown(fd, static_cast<uid_t>(-1), e.gid) != 0)
            errno = 0;
    }
    set_xattrs(e, fd, {});
    const std::uint32_t mode = final_mode(e, owned);
    const bool acl = !e.xattrs.empty(); // an ACL sets permission bits as well
    if ((mode != mode_now || acl) && ::fchmod(fd, mode) != 0) {
        if (!is_refusal(errno))
            fail("chmod", e);
        losses_.add("modes", e.path, std::strerror(errno));
    }
    const timespec times[2] = {{0, UTIME_OMIT}, mtime_of(e)};
    if (::futimens(fd, times) != 0) {
        if (!is_refusal(errno))
            fail("set time of", e);
        losses_.add("times", e.path, std::strerror(errno));
    }
}

void AttributeWriter::restore_at(int dir, const std::string& name, const TarEntry& e) {
    bool owned = options_.same_owner || (e.uid == euid_ && e.gid == egid_);
    if (wants_chown(e) && ::fchownat(dir, name.c_str(), e.uid, e.gid, AT_SYMLINK_NOFOLLOW) != 0) {
        if (!is_refusal(errno))
            fail("chown", e);
        losses_.add("owners", e.path, std::strerror(errno));
        owned = false;
    }
    // No call sets xattrs by directory handle and name; `l` keeps it from following the last part.
    const std::string proc_path = "/proc/self/fd/" + std::to_string(dir) + "/" + name;
    if (!e.xattrs.empty() || !e.lost.empty())
        set_xattrs(e, dir, proc_path);
    if (e.type != EntryType::symlink) {
        const std::uint32_t mode = final_mode(e, owned);
        // Made with the permission bits; only these are lost on the way (chown), or changed (ACL).
        // fchmodat would follow a symlink, which a node that we made in our own stage is not.
        if (((mode & 07000) != 0 || !e.xattrs.empty()) &&
            ::fchmodat(dir, name.c_str(), mode, 0) != 0 && !is_refusal(errno))
            fail("chmod", e);
    }
    const timespec times[2] = {{0, UTIME_OMIT}, mtime_of(e)};
    if (::utimensat(dir, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
        if (!is_refusal(errno))
            fail("set time of", e);
        losses_.add("times", e.path, std::strerror(errno));
    }
}

void OpaqueMarker::mark(int dir_fd, std::string_view path) {
    if (!userxattr_) {
        if (::fsetxattr(dir_fd, overlay_xattr_name(false, "opaque").c_str(), "y", 1, 0) == 0)
            return;
        if (errno != EPERM && errno != ENOTSUP)
            throw sys_error("mark opaque " + show_path(path)).with_kind(ErrorKind::io);
        userxattr_ = true; // like the mount of somebody who may not write trusted.*
    }
    if (::fsetxattr(dir_fd, overlay_xattr_name(true, "opaque").c_str(), "y", 1, 0) == 0)
        return;
    if (errno != EPERM && errno != EACCES && errno != ENOTSUP)
        throw sys_error("mark opaque " + show_path(path)).with_kind(ErrorKind::io);
    throw Error(ErrorKind::denied,
                "cannot mark '" + show_path(path) + "' opaque: " + std::strerror(errno),
                "without the mark deleted files would come back; run as root, or on a file system "
                "with user xattrs, or unpack with --whiteouts=apply or oci");
}

bool OpaqueMarker::is_marked(int dir_fd) {
    for (const bool user : {false, true}) {
        char value = 0;
        if (::fgetxattr(dir_fd, overlay_xattr_name(user, "opaque").c_str(), &value, 1) == 1 &&
            value == 'y')
            return true;
    }
    return false;
}

} // namespace zl
