/// Directories by handle only: every path is resolved beneath a directory that is already open, no
/// symbolic link is followed and no mount point crossed. Paths may be longer than PATH_MAX.
#pragma once

#include "base/file.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace zl {

/// Opens the directory @p path (clean, relative; empty = @p root itself) for reading. An empty
/// UniqueFd with errno set if it cannot be: ENOENT; ENOTDIR or ELOOP (something else or a symbolic
/// link is in the way); EXDEV (a mount point).
/// openat2(2) with RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS|NO_XDEV; where a kernel or a seccomp
/// filter does not have it, component by component with O_NOFOLLOW.
UniqueFd open_dir_beneath(int root, std::string_view path);
/// The fallback alone (tests).
UniqueFd open_dir_stepwise(int root, std::string_view path);

enum class FileKind { directory, symlink, whiteout, other };
struct FoundFile {
    FileKind kind = FileKind::other;
    std::uint32_t mode = 0; ///< permission bits
    std::int64_t mtime = 0;
    std::uint32_t mtime_ns = 0;
    bool mount_point = false; ///< something is mounted on it
};
/// What @p name (one component) in @p dir is, itself, not what it points to; nullopt: nothing.
std::optional<FoundFile> look_at(int dir, const std::string& name);

/// Names in @p dir except `.` and `..`, in no order. @p visit returns false to stop. The directory's
/// own file offset is not touched. Throws io.
void list_dir(int dir, const std::function<bool(const std::string& name)>& visit);

/// Removes @p name in @p dir with everything below it. Not there: nothing to do. Stops at mount
/// points (throws io), follows no symbolic link; any depth with few descriptors.
void remove_tree(int dir, const std::string& name);

/// `a/b/c` -> {`a/b`, `c`}; `c` -> {``, `c`}.
struct SplitPath {
    std::string_view parent;
    std::string_view name;
};
SplitPath split_path(std::string_view path);

} // namespace zl
