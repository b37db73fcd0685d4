/// Looks at what is in a directory.
#pragma once

#include "../temp_dir.hpp"
#include "base/file.hpp"
#include "layer/beneath.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

namespace zl::test {

inline struct stat stat_of(const std::string& path) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0)
        st.st_mode = 0;
    return st;
}
inline bool exists(const std::string& path) { return stat_of(path).st_mode != 0; }
inline bool is_whiteout(const std::string& path) {
    const auto st = stat_of(path);
    return S_ISCHR(st.st_mode) && st.st_rdev == 0;
}
/// Value of an xattr; "-" if it is not there.
inline std::string xattr_of(const std::string& path, const std::string& name) {
    char value[1000];
    const ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), value, sizeof value);
    return n < 0 ? "-" : std::string(value, static_cast<std::size_t>(n));
}
inline std::string content_of(const std::string& path) {
    return read_file(path).value_or("(absent)");
}
inline void write_text(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}
inline std::set<std::string> names_in(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY));
    std::set<std::string> names;
    if (fd)
        list_dir(fd.get(), [&](const std::string& name) {
            names.insert(name);
            return true;
        });
    return names;
}
inline bool is_root() { return ::geteuid() == 0; }

} // namespace zl::test
