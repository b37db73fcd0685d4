/// Where frames end. The cuts depend on content only, so an unchanged part of the tree gives the
/// same frames in the next version of the layer, whatever changed before it:
///   - a file of kBigFile or more has frames of its own: cut before its header and after its
///   padding;
///   - between smaller entries: after an entry with tar size s, cut with probability s/3 MiB (after
///     4 MiB: s/1 MiB), decided by a hash of its path; never below 1 MiB, always from 8 MiB on;
///   - inside a big file: a gear hash over the content (FastCDC, Xia et al., USENIX ATC 2016), 1
///   MiB
///     to 8 MiB, 4 MiB on average.
/// Constants are part of format 1: changing one changes every frame (not the digest).
#pragma once

#include "stream/stream.hpp"

#include <cstdint>
#include <string_view>

namespace zl {

inline constexpr std::uint64_t kMinFrame = 1 << 20;
inline constexpr std::uint64_t kTargetFrame = 4 << 20;
inline constexpr std::uint64_t kMaxFrame = 8 << 20;
inline constexpr std::uint64_t kBigFile = 4 << 20;

/// Decides at entry boundaries. @p frame_bytes: tar bytes in the frame so far.
bool cut_after_entry(std::uint64_t frame_bytes, std::string_view path,
                     std::uint64_t entry_tar_size);
/// An entry of @p entry_tar_size (all headers, data, padding) that starts its own frame.
constexpr bool has_own_frames(std::uint64_t entry_tar_size) {
    return entry_tar_size >= kBigFile;
}

/// Finds cuts inside a big entry.
class ContentChunker {
public:
    /// Bytes of @p data that belong to the current frame; less than data.size() (or cut() true)
    /// means that the frame ends there. Call again with the rest.
    std::size_t take(Bytes data);
    /// After take(): whether the frame ends after the bytes taken.
    bool cut() const { return cut_; }
    void start_frame(std::uint64_t bytes_so_far = 0) {
        size_ = bytes_so_far;
        hash_ = 0;
        cut_ = false;
    }

private:
    std::uint64_t hash_ = 0;
    std::uint64_t size_ = 0;
    bool cut_ = false;
};

} // namespace zl
