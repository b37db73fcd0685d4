/// The end of a layer stream: what makes "finished" different from "died".
///
///   data frame 0 .. N-1 | TOC frame | trailer frame | seek table frame
///
/// All three at the end are skippable frames, so `zstd -d | tar -x` reads the file. The trailer's
/// payload is one line of JSON, LF, the 64 hex digits of the SHA-256 of that line (without the LF),
/// LF: so that no byte of it can flip unseen, and `tail -c 2000 FILE | strings` shows it.
/// Field order is fixed; the same tree gives the same bytes.
#pragma once

#include "stream/hash.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zl {

/// Skippable frame variants (added to 0x184D2A50).
inline constexpr unsigned kTocVariant = 0x0;
inline constexpr unsigned kTrailerVariant = 0x1;
inline constexpr unsigned kSeekTableVariant = 0xE; ///< zstd's seekable_format

inline constexpr int kLayerFormat = 1;
/// At most so many skipped paths are listed; skipped_count has them all.
inline constexpr std::size_t kMaxSkippedListed = 200;
/// A reader accepts a trailer frame up to this size.
inline constexpr std::size_t kMaxTrailerSize = 1 << 20;

struct SkippedPath {
    std::string path;   ///< as in the tar; bytes that are not printable ASCII/UTF-8 escaped as \xNN
    std::string reason; ///< `socket`, `unreadable: permission denied`, `changed while reading`, ...
    bool operator==(const SkippedPath&) const = default;
};

struct Trailer {
    int format = kLayerFormat;
    Digest digest;                 ///< SHA-256 of the uncompressed tar: the DiffID
    std::uint64_t size_bytes = 0;  ///< of the uncompressed tar
    std::uint64_t file_count = 0;  ///< tar entries, the root directory included
    std::uint64_t data_frames = 0; ///< number of data frames
    std::uint64_t data_bytes = 0; ///< compressed bytes of the data frames = offset of the TOC frame
    std::uint64_t before_bytes = 0; ///< all compressed bytes before the trailer frame
    Digest before_sha256;           ///< SHA-256 of those
    /// Something could not be read, or changed while it was (exit code 3). Sockets do not count.
    bool incomplete = false;
    std::uint64_t skipped_count = 0;
    std::vector<SkippedPath> skipped;
    bool operator==(const Trailer&) const = default;
};

/// The whole skippable frame.
std::string encode_trailer(const Trailer& trailer);
/// @p payload is what is inside the frame. Throws data: not ours, wrong checksum, format > ours.
Trailer decode_trailer(Bytes payload);

} // namespace zl
