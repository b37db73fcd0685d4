/// Table of contents: where each entry of the tar lies, so that one file can be fetched with range
/// requests. An index only: the tar's own headers hold the truth, and a file's SHA-256 proves it.
///
/// Payload of the TOC frame = one zstd frame of
///   "ZLTOC1\n"
///   entry*   u8 type; varint shared, varint n, n bytes: path = first `shared` bytes of the path
///            before + these; varint size; varint frame - frame of the entry before; varint offset
///            of the entry's first header block in that frame's content; type h: varint index
///            (0-based) of the entry that holds the data; type f: 32 bytes SHA-256 of the entry's
///            data in the tar without padding: the content, or, of a sparse entry, its map and what
///            it stores (a hole of 1 TiB costs nothing)
///   u8 0, varint number of entries
/// varint = LEB128, at most 10 bytes.
#pragma once

#include "stream/hash.hpp"
#include "stream/zstd_stream.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace zl {

enum class EntryType : char {
    file = 'f',
    directory = 'd',
    symlink = 'l',
    hardlink = 'h',
    char_device = 'c',
    block_device = 'b',
    fifo = 'p',
    whiteout = 'w', ///< `.wh.NAME` in the tar; the path is the tar's
    opaque = 'o',   ///< `.wh..wh..opq`
};

struct TocEntry {
    EntryType type = EntryType::file;
    std::string path{};           ///< as in the tar, without trailing slash; the root is `.`
    std::uint64_t size = 0;       ///< content of a regular file, else 0
    std::uint64_t frame = 0;      ///< data frame that holds the entry's first header block
    std::uint64_t offset = 0;     ///< of that block in the frame's content
    std::uint64_t link_index = 0; ///< hardlink: index of the entry with the data
    Digest sha256{};              ///< regular file: of its data in the tar
};

/// Entries are compressed as they come; memory holds the compressed form only.
class TocWriter {
public:
    TocWriter();
    void add(const TocEntry& entry);
    std::uint64_t count() const { return count_; }
    /// The payload of the TOC frame; call once.
    std::string finish();

private:
    StringCompressor out_;
    std::string previous_path_;
    std::uint64_t previous_frame_ = 0;
    std::uint64_t count_ = 0;
};

/// Read the TOC payload, entry by entry in tar order; bounded memory. @p visit returns false to
/// stop. Throws data when malformed (paths above 64 KiB, frames going backwards, wrong count, ...).
void read_toc(Bytes payload,
              const std::function<bool(std::uint64_t index, const TocEntry&)>& visit);

} // namespace zl
