#include "base/disk.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <sys/statvfs.h>

namespace zl {

std::optional<std::uint64_t> free_space(const std::string& path) {
    struct statvfs fs {};
    if (::statvfs(path.c_str(), &fs) != 0)
        return std::nullopt;
    return std::uint64_t{fs.f_bavail} * fs.f_frsize;
}

void require_space(const std::string& path, std::uint64_t size) {
    const std::optional<std::uint64_t> available = free_space(path);
    if (available && *available < size)
        throw Error(ErrorKind::io, path + ": no space left on device: " + format_size(size) +
                                       " are needed, " + format_size(*available) + " are free");
}

} // namespace zl
