/// A snapshot: a whole database as one object.
///
///   zstd frame 0 .. N-1 | header frame (zstd skippable, variant 3) | seek table (seekable_format)
///
/// The data frames hold the file as it is (the lock page as zeros), 1 MiB of it each, so any page
/// can be had with a range request. The header frame's payload: one line of JSON, LF, its SHA-256
/// in hex, LF. It stands behind the data because a snapshot is streamed: its checksum comes last.
#pragma once

#include "base/units.hpp"
#include "stream/hash.hpp"
#include "stream/seek_table.hpp"
#include "wal/page_hash.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace zl {

inline constexpr unsigned kSnapshotVariant = 0x3;
inline constexpr std::size_t kSnapshotFrameSize = 1 << 20;
/// The header frame is at most so large: a reader fetches this plus the seek table.
inline constexpr std::size_t kMaxSnapshotHeader = 4096;

struct SnapshotHeader {
    std::string db_id, generation, writer, host; ///< as in SegmentHeader
    std::uint64_t sequence = 0;                  ///< it contains everything up to this segment
    Digest chain;                                ///< id of that segment
    TimePoint time{};                            ///< `time` of that segment
    TimePoint created_at{};                      ///< when it was begun: the time in its key
    std::uint32_t page_size = 0, page_count = 0;
    DbChecksum checksum = 0;
    std::uint64_t body_size = 0; ///< compressed bytes before the header frame
    Digest body_sha256;          ///< of those
};

/// Consecutive pages of one consistent state of a database.
class PageSource {
public:
    virtual ~PageSource() = default;
    virtual std::uint32_t page_size() const = 0;
    virtual std::uint32_t page_count() const = 0;
    /// Fill @p out (a multiple of the page size) from page @p first on. The lock page is zeros.
    virtual void read(std::uint32_t first, std::span<std::byte> out) = 0;
};

/// Writes all of @p pages as a snapshot into @p out, compressing on @p threads threads; fills in
/// page_size, page_count, checksum, body_size and body_sha256 of @p header. Memory: (threads + 2) x
/// 2 MiB. Does not call out.finish(). @p on_page_hashes gets the hashes of pages first, first+1 and
/// so on (0 for the lock page) as they pass.
void write_snapshot(
    PageSource& pages, SnapshotHeader& header, Sink& out, int level, int threads,
    const std::function<void(std::uint32_t first, const std::vector<std::uint64_t>&)>&
        on_page_hashes = {});

/// What the end of a snapshot tells.
struct SnapshotIndex {
    SnapshotHeader header;
    std::vector<SeekEntry> frames; ///< data frames only, in order
};
/// @p read gives bytes [offset, offset + n) of an object of @p size bytes; called two or three
/// times. Throws data: not ours (with a hint if it is a plain zstd file: ZLayer's), malformed,
/// impossible values.
SnapshotIndex
read_snapshot_index(std::uint64_t size, std::string_view name,
                    const std::function<std::string(std::uint64_t offset, std::uint64_t n)>& read);

} // namespace zl
