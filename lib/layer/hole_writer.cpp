#include "layer/hole_writer.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/tar_entry.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace zl {

namespace {
constexpr std::size_t kPage = 4096;
}

bool is_zero(Bytes data) {
    return data.empty() || (data[0] == std::byte{0} &&
                            std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

void HoleWriter::write(std::uint64_t offset, Bytes data) {
    std::size_t begin = 0; // of the run of pages to write
    for (std::size_t at = 0; at < data.size();) {
        // To the next page boundary of the file; only whole pages, or the last part, can be holes.
        const std::size_t n =
            std::min<std::size_t>(kPage - (offset + at) % kPage, data.size() - at);
        const bool from_boundary = (offset + at) % kPage == 0;
        if (from_boundary && is_zero(data.subspan(at, n))) {
            if (at > begin)
                pwrite_full(fd_, data.subspan(begin, at - begin), offset + begin, name_);
            if (at > begin)
                end_ = offset + at;
            begin = at + n;
        }
        at += n;
    }
    if (data.size() > begin) {
        pwrite_full(fd_, data.subspan(begin), offset + begin, name_);
        end_ = offset + data.size();
    }
}

void HoleWriter::finish(std::uint64_t size) {
    if (size != end_ && ::ftruncate(fd_, static_cast<off_t>(size)) != 0)
        throw sys_error("set size of " + show_path(name_)).with_kind(ErrorKind::io);
}

} // namespace zl
