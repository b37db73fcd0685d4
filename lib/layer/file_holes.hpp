/// Where the file system says that a file has data: only to save reading, content decides.
#pragma once

#include "layer/file_access.hpp"

#include <cstdint>

namespace zl {

class FileHoles {
public:
    /// @p fd has the attributes @p meta.
    FileHoles(int fd, const FileMeta& meta);

    struct Range {
        std::uint64_t begin = 0, end = 0;
    };
    /// The first part at or after @p at (a multiple of 4096) that has to be read: aligned to 4096,
    /// but for the end of the file. Empty at the end of the file if only a hole is left.
    Range next(std::uint64_t at) const;

private:
    Range seek(std::uint64_t at) const;

    int fd_;
    std::uint64_t size_;
    bool has_holes_ = false; ///< and SEEK_DATA is to be believed
};

} // namespace zl
