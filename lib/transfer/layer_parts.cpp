#include "transfer/layer_parts.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/shown.hpp"

#include <algorithm>

namespace zl {

namespace {

/// Ours are below 16 MiB; a hostile table must not make us allocate gigabytes.
constexpr std::uint32_t kMaxFrameContent = 64 << 20;
constexpr std::uint64_t kBlock = 512;
/// No headers of ours are as long (layer/tar_reader.hpp, kMaxPaxHeader).
constexpr std::uint64_t kMaxHead = 8 << 20;

} // namespace

FrameMap::FrameMap(const LayerEnd& end) {
    std::uint64_t object = 0, tar = 0;
    for (std::uint64_t i = 0; i < end.trailer.data_frames; ++i) {
        const SeekEntry& f = end.frames[static_cast<std::size_t>(i)];
        if (f.content_size > kMaxFrameContent)
            throw Error(ErrorKind::data,
                        "seek table: frame of " + std::to_string(f.content_size) + " bytes");
        in_object.push_back(object);
        in_tar.push_back(tar);
        object += f.compressed_size;
        tar += f.content_size;
    }
    in_object.push_back(object);
    in_tar.push_back(tar);
}

std::uint64_t FrameMap::tar_offset(const TocEntry& e) const {
    if (e.frame >= in_tar.size() - 1 || e.offset > in_tar[static_cast<std::size_t>(e.frame) + 1] -
                                                       in_tar[static_cast<std::size_t>(e.frame)])
        throw Error(ErrorKind::data,
                    "table of contents: " + shown(e.path, 200) + " lies outside the frames");
    return in_tar[static_cast<std::size_t>(e.frame)] + e.offset;
}

std::size_t FrameMap::frame_at(std::uint64_t tar) const {
    return static_cast<std::size_t>(std::upper_bound(in_tar.begin(), in_tar.end(), tar) -
                                    in_tar.begin()) -
           1;
}

std::string fetch_toc(ObjectStore& store, const ObjectInfo& object, const LayerEnd& end) {
    const SeekEntry& frame = end.frames[static_cast<std::size_t>(end.trailer.data_frames)];
    if (frame.compressed_size < kSkippableHeaderSize)
        throw Error(ErrorKind::data, store.describe(object.key) + ": no table of contents");
    return get_range(store, object, end.toc_offset() + kSkippableHeaderSize,
                     frame.compressed_size - kSkippableHeaderSize);
}

std::uint64_t end_of_entries(const LayerEnd& end) {
    if (end.trailer.size_bytes < 2 * kBlock)
        throw Error(ErrorKind::data, "a tar of " + std::to_string(end.trailer.size_bytes) +
                                         " bytes has no room for its end");
    return end.trailer.size_bytes - 2 * kBlock;
}

std::string layer_path(std::string path) {
    while (path.starts_with("./"))
        path.erase(0, 2);
    while (path.starts_with("/"))
        path.erase(0, 1);
    while (path.ends_with("/"))
        path.pop_back();
    return path.empty() ? "." : path;
}

bool is_at_or_below(const std::string& path, const std::string& wanted) {
    return wanted == "." || path == wanted ||
           (path.size() > wanted.size() && path.starts_with(wanted) && path[wanted.size()] == '/');
}

void EntryProof::begin(const TocEntry& entry, std::uint64_t size) {
    entry_ = entry;
    at_ = 0;
    const std::uint64_t padded = (entry.size + kBlock - 1) / kBlock * kBlock;
    const std::uint64_t head = size > padded ? size - padded : 0;
    data_from_ = entry.type == EntryType::file && head <= kMaxHead ? head : 0;
    head_.clear();
    hash_ = Hasher();
}

void EntryProof::write(Bytes part) {
    const std::uint64_t at = at_;
    at_ += part.size();
    if (!data_from_)
        return;
    const std::uint64_t data_end = data_from_ + entry_.size;
    if (at < data_from_) {
        const auto n =
            static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), data_from_ - at));
        head_ += as_text(part.first(n));
    }
    const std::uint64_t lo = std::max(at, data_from_), hi = std::min(at + part.size(), data_end);
    if (lo < hi)
        hash_.update(
            part.subspan(static_cast<std::size_t>(lo - at), static_cast<std::size_t>(hi - lo)));
}

void EntryProof::end() {
    const bool plain = data_from_ && head_.find("GNU.sparse.") == std::string::npos;
    if (plain && hash_.finish() != entry_.sha256)
        throw Error(ErrorKind::data,
                    shown(entry_.path, 200) + ": content does not fit its SHA-256");
}

} // namespace zl
