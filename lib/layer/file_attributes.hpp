/// Owner, mode, times and xattrs of what unpacking makes, and the account of what could not be set.
#pragma once

#include "base/report.hpp"
#include "layer/tar_entry.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace zl {

/// What an unprivileged user, or the file system, could not restore. Each path is logged at level
/// info, summary() says the rest once.
class Losses {
public:
    explicit Losses(Log& log) : log_(log) {}
    /// @p kind in the plural: `owners`, `device nodes`, `trusted.* xattrs`.
    void add(const std::string& kind, std::string_view path, std::string_view reason);
    bool any() const { return !counts_.empty(); }
    /// One warning: `could not restore: 12 owners, 1 device node`; nothing if nothing was lost.
    void summary();

private:
    Log& log_;
    std::map<std::string, std::uint64_t> counts_;
};

struct AttributeOptions {
    bool same_owner = true; ///< false: owners are left alone, and setuid/setgid of others dropped
};

/// Restores attributes in the order that keeps them: chown (clears setuid and capabilities), xattrs,
/// chmod, times. Where the caller may not, it counts a loss; every other failure throws io.
class AttributeWriter {
public:
    AttributeWriter(AttributeOptions options, Losses& losses);

    /// A file or directory open as @p fd, not seen by others yet. @p mode_now: permission bits that
    /// it has now, as made by this process.
    void restore(int fd, const TarEntry& entry, std::uint32_t mode_now);
    /// Symlink, device, fifo: @p name (one component) in @p dir.
    void restore_at(int dir, const std::string& name, const TarEntry& entry);
    /// The mode that a file of @p entry may be made with, before restore().
    std::uint32_t creation_mode(const TarEntry& entry) const;

private:
    bool wants_chown(const TarEntry& entry) const;
    /// Permission bits to end with, given whether the owner is the entry's.
    std::uint32_t final_mode(const TarEntry& entry, bool owned) const;
    void lose_xattr(const TarEntry& entry, const Xattr& xattr, int error, int fd);
    void set_xattrs(const TarEntry& entry, int fd, const std::string& proc_path);

    AttributeOptions options_;
    Losses& losses_;
    std::uint32_t euid_;
    std::uint32_t egid_;
};

/// Sets `overlay.opaque` on directories: in trusted.* where permitted, else in user.*.
class OpaqueMarker {
public:
    explicit OpaqueMarker(bool userxattr) : userxattr_(userxattr) {}
    /// Throws denied when neither can be written.
    void mark(int dir_fd, std::string_view path);
    /// Whether @p dir_fd carries a mark of either kind.
    static bool is_marked(int dir_fd);

private:
    bool userxattr_;
};

} // namespace zl
