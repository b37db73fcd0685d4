#include "base/disk.hpp"

#include <sys/statvfs.h>

namespace zl {

std::optional<std::uint64_t> free_space(const std::string& path) {
    struct statvfs fs {};
    if (::statvfs(path.c_str(), &fs) != 0)
        return std::nullopt;
    return std::uint64_t{fs.f_bavail} * fs.f_frsize;
}

} // namespace zl
