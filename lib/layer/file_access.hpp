/// Reading names, attributes and extended attributes through directory handles, never by whole
/// path: no PATH_MAX, and nobody can swap a parent directory for a symlink in between. Failures
/// come back as errno values (0 = fine): while packing most of them are one entry's matter.
#pragma once

#include "base/file.hpp"
#include "layer/tar_writer.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

struct FileMeta {
    std::uint32_t mode = 0; ///< with the type
    std::uint32_t uid = 0, gid = 0, nlink = 0;
    std::uint64_t size = 0, dev = 0, ino = 0;
    std::uint64_t blocks = 0; ///< of 512 bytes
    std::int64_t mtime = 0, ctime = 0;
    std::uint32_t mtime_ns = 0, ctime_ns = 0;
    std::uint32_t dev_major = 0, dev_minor = 0; ///< of the device that the node stands for
    bool is_mount_root = false;
};

/// Same size and times: the content read between the two is one version of the file.
bool is_same_version(const FileMeta& a, const FileMeta& b);

/// Does not follow a symlink. @p name empty: @p fd itself.
int stat_at(int fd, const char* name, FileMeta& meta);
/// openat(2) with O_RDONLY | O_NOFOLLOW | O_NOATIME (without O_NOATIME where that is refused).
/// A fifo or a device that took the file's place does not block.
int open_at(int dir_fd, const char* name, int extra_flags, UniqueFd& fd);

/// Sorted by name. A file system without xattrs has none.
int read_xattrs(int fd, std::vector<Xattr>& xattrs);
/// Of a name that cannot be opened (symlink, device, fifo), through /proc/self/fd.
int read_xattrs_at(int dir_fd, const char* name, std::vector<Xattr>& xattrs);
/// Target of a symlink.
int read_link_at(int dir_fd, const char* name, std::string& target);

/// The names of a directory in one block of memory.
class NameList {
public:
    struct Entry {
        std::uint64_t offset;
        std::uint16_t size;
        std::uint8_t type; ///< DT_*; DT_UNKNOWN where the file system does not say
    };
    /// Reads all names but `.` and `..` of @p dir_fd, from its current position.
    int read(int dir_fd);
    std::size_t size() const { return entries_.size(); }
    std::string_view name(const Entry& e) const { return {text_.data() + e.offset, e.size}; }
    std::string_view name(std::size_t i) const { return name(entries_[i]); }
    std::uint8_t type(std::size_t i) const { return entries_[i].type; }
    void add(std::string_view name, std::uint8_t type);
    /// Bytewise.
    void sort();

private:
    std::string text_;
    std::vector<Entry> entries_;
};

} // namespace zl
