/// The seek table of zstd's seekable format 0.1.0 (contrib/seekable_format in the zstd sources), so
/// that existing readers can seek: one row per frame before it, skippable ones with 0 decompressed
/// bytes, without per-frame checksums. Last 4 bytes of the file: 0x8F92EAB1, little endian.
#pragma once

#include "stream/stream.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zl {

struct SeekEntry {
    std::uint32_t compressed_size = 0;
    std::uint32_t content_size = 0;
    bool operator==(const SeekEntry&) const = default;
};

inline constexpr std::size_t kSeekFooterSize = 9;
/// A layer of more frames is refused, by all who have its rows in memory. At 2 MiB each they stand
/// for 16 TiB of tar.
inline constexpr std::size_t kMaxLayerRows = 8 << 20;
/// Size of the whole frame for @p frames rows.
constexpr std::uint64_t seek_table_frame_size(std::uint64_t frames) {
    return 8 + 8 * frames + kSeekFooterSize;
}

/// The whole skippable frame.
std::string encode_seek_table(const std::vector<SeekEntry>& frames);
/// Number of rows, from the last 9 bytes of a file; nullopt if that is no seek table footer.
std::optional<std::uint32_t> decode_seek_footer(Bytes last9);
/// @p frame is the whole skippable frame. Throws data when it is malformed.
std::vector<SeekEntry> decode_seek_table(Bytes frame);

} // namespace zl
