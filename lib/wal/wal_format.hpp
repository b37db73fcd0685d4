/// SQLite's write-ahead log as bytes. Pure: no file, no lock, no SQLite.
/// Source of every fact here: https://sqlite.org/fileformat2.html section 4, wal.c.
#pragma once

#include "stream/stream.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace zl {

inline constexpr std::size_t kWalHeaderSize = 32;
inline constexpr std::size_t kWalFrameHeaderSize = 24;

/// 512..65536, a power of two.
bool valid_page_size(std::uint32_t page_size);
/// The page at 1 GiB, which SQLite uses for locks: it never holds data and is never in a WAL.
constexpr std::uint32_t lock_page(std::uint32_t page_size) {
    return 0x40000000U / page_size + 1;
}
/// Offset of frame @p frame (1, 2, ...) in a WAL file.
constexpr std::uint64_t wal_frame_offset(std::uint64_t frame, std::uint32_t page_size) {
    return kWalHeaderSize + (frame - 1) * (kWalFrameHeaderSize + std::uint64_t{page_size});
}

/// The cumulative checksum of a WAL: two 32-bit sums.
struct WalChecksum {
    std::uint32_t s1 = 0, s2 = 0;
    bool operator==(const WalChecksum&) const = default;
    /// @p data: a multiple of 8 bytes, read as 32-bit words in the byte order of the WAL's magic.
    void update(Bytes data, bool big_endian);
};

struct WalSalt {
    std::uint32_t s1 = 0, s2 = 0;
    bool operator==(const WalSalt&) const = default;
};

struct WalHeader {
    bool big_endian = false; ///< of the checksums: magic 0x377f0683, else 0x377f0682
    std::uint32_t page_size = 0;
    std::uint32_t checkpoint_sequence = 0;
    WalSalt salt;
    WalChecksum checksum; ///< of the header itself: where the frames' chain starts
};

struct WalFrame {
    std::uint32_t page = 0;   ///< 1, 2, ...
    std::uint32_t commit = 0; ///< of a commit frame: database size in pages after it; else 0
    WalSalt salt;
    WalChecksum checksum;
};

/// nullopt: fewer than 32 bytes, another magic or format version, impossible page size or a wrong
/// checksum. That is "no WAL yet" (a torn header), not an error.
std::optional<WalHeader> parse_wal_header(Bytes bytes);
/// @p bytes: at least 24.
WalFrame parse_wal_frame(Bytes bytes);
/// Continue the chain over a frame: its first 8 header bytes and its page.
void chain_frame(WalChecksum& checksum, Bytes frame_header, Bytes page, bool big_endian);

/// Writes a valid WAL: the header at once, then frame by frame. Byte order of the checksums: little
/// endian, whatever the host.
class WalBuilder {
public:
    /// @p salt should differ from segment to segment.
    WalBuilder(Sink& out, std::uint32_t page_size, WalSalt salt, std::uint32_t checkpoint_sequence);
    /// @p commit: 0, or on the last frame the size of the database in pages.
    void frame(std::uint32_t page, std::uint32_t commit, Bytes data);

private:
    Sink& out_;
    std::uint32_t page_size_;
    WalSalt salt_;
    WalChecksum checksum_;
};

} // namespace zl
