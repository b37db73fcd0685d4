#include "layer/file_holes.hpp"

#include "layer/sparse_map.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace zl {

/// On ext4 without extents SEEK_DATA (Linux 6.18) takes what was written but has no place on disk yet
/// for a hole, and whoever believes it packs zeros. st_blocks counts such blocks, so where the data
/// that SEEK_DATA finds does not account for all of them, they are given their place first. (It may
/// have been the file system's own blocks that were counted; then that was for nothing.) Remove
/// when no supported kernel does that.
FileHoles::FileHoles(int fd, const FileMeta& meta) : fd_(fd), size_(meta.size) {
    const std::uint64_t allocated = meta.blocks * 512;
    if (allocated >= meta.size)
        return;
    std::uint64_t found = 0;
    for (Range r = seek(0); r.begin < size_; r = seek(r.end))
        found += (r.end - r.begin + kSparseBlock - 1) / kSparseBlock * kSparseBlock;
    has_holes_ = found >= allocated || fdatasync(fd) == 0;
}

FileHoles::Range FileHoles::next(std::uint64_t at) const {
    return has_holes_ ? seek(at) : Range{at, size_};
}

FileHoles::Range FileHoles::seek(std::uint64_t at) const {
    if (at >= size_)
        return {size_, size_};
    const off_t data = lseek(fd_, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? Range{size_, size_} : Range{at, size_};
    const off_t hole = lseek(fd_, data, SEEK_HOLE);
    const std::uint64_t end = hole < 0 ? size_ : static_cast<std::uint64_t>(hole);
    // Whole blocks of the map only, one that is half hole is read; and always onwards.
    const std::uint64_t begin =
        std::clamp(static_cast<std::uint64_t>(data) / kSparseBlock * kSparseBlock, at, size_);
    const std::uint64_t up = (end + kSparseBlock - 1) / kSparseBlock * kSparseBlock;
    return {begin, std::min(size_, std::max(up, begin + kSparseBlock))};
}

} // namespace zl
