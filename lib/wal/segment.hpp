/// A segment: the pages that changed in a database, as one object.
///
///   header frame (zstd skippable, variant 2, 1024 bytes in all) | zstd frames of a WAL
///
/// What decompresses is a WAL of its own (fresh salts, each page once in its last version, sorted
/// by number, one commit frame), which stock sqlite3 applies to the database as of the segment
/// before. A claim (the first segment of a generation) and a segment without pages hold only the
/// WAL header. The header frame's payload: one line of JSON, spaces up to the size, LF, 64 hex
/// digits of the SHA-256 of the JSON (without the spaces), LF. That digest is the segment's id;
/// each header names the id before it, so the headers form a chain, and a header names the SHA-256
/// of its body.
#pragma once

#include "base/units.hpp"
#include "stream/hash.hpp"
#include "wal/page_hash.hpp"
#include "wal/wal_format.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace zl {

inline constexpr unsigned kSegmentVariant = 0x2;
inline constexpr std::size_t kSegmentHeaderSize = 1024; ///< the whole skippable frame
inline constexpr int kReplicaFormat = 1;
/// WAL bytes per zstd frame.
inline constexpr std::size_t kSegmentFrameSize = 1 << 20;

enum class SegmentKind { segment, claim, merged };

struct SegmentHeader {
    SegmentKind kind = SegmentKind::segment;
    std::string db_id;                ///< 16 hex digits; stays over generations
    std::string generation;           ///< 16 hex digits
    std::string writer;               ///< 16 hex digits: the cache directory that made it
    std::string host;                 ///< for people; cut to 48 bytes
    std::uint64_t first_sequence = 0; ///< = sequence unless merged
    std::uint64_t sequence = 0;       ///< 1, 2, ...; of a merged one the last
    TimePoint first_time{};           ///< of a merged one: time of its first segment
    /// Everything in it was committed by then. Grows strictly from segment to segment of a NAME.
    TimePoint time{};
    std::uint32_t page_size = 0;
    std::uint32_t page_count = 0; ///< of the database after it
    std::uint64_t frames = 0;     ///< pages in it
    std::uint64_t body_size = 0;  ///< compressed bytes after the header frame
    Digest body_sha256;           ///< of those
    Digest prev;                  ///< id of the segment before the first; zero: there is none
    Digest last;                  ///< merged: id of its last segment; else zero
    DbChecksum checksum_before = 0, checksum_after = 0;
    /// Not the next transactions but the difference to another state, and why (`restarted: WAL
    /// deleted while no shipper ran`); cut to 80 bytes. Empty in ordinary segments.
    std::string resync;
    /// Moments from here to `time` cannot be restored.
    std::optional<TimePoint> gap_from;
    // Claims only: where the history branches off. Empty and 0 in the first generation.
    std::string parent;
    std::uint64_t fork_sequence = 0;

    /// SHA-256 of the JSON line.
    Digest id() const;
};

/// The whole 1024-byte frame.
std::string encode_segment_header(const SegmentHeader& header);
/// @p bytes: the first kSegmentHeaderSize bytes of an object. Throws data: not ours (with a hint
/// where it looks like ZLayer's: no skippable frame first), wrong checksum, format > ours,
/// impossible values (page size, sequences, sizes).
SegmentHeader decode_segment_header(Bytes bytes, std::string_view name);

/// Makes a segment in a file: pages in, header last. Memory: about 2 MiB, whatever its size.
class SegmentWriter {
public:
    /// @p fd: an empty file, read-write, kept open by the caller; nothing is fsynced here.
    /// @p sequence seeds the salts.
    SegmentWriter(int fd, std::string name, std::uint32_t page_size, std::uint64_t sequence,
                  int level = 3);
    ~SegmentWriter();
    /// @p page ascending. The lock page must not come.
    void page(std::uint32_t page, Bytes data);
    /// Fills in frames, body_size and body_sha256 of @p header, and writes it in front.
    /// @p header.page_count goes into the commit frame. Returns the size of the file.
    std::uint64_t finish(SegmentHeader& header);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Called once per page, ascending.
using PageVisitor = std::function<void(std::uint32_t page, Bytes data)>;

/// The pages of a segment, one after the other. Checks that the body is a well-formed WAL of the
/// header's page size with ascending pages up to page_count, `frames` frames and one commit at the
/// end. Memory: a page, 200 KiB and the zstd window (1 MiB in what we write).
class SegmentCursor {
public:
    /// @p body: the compressed bytes after the header frame; outlives the cursor.
    SegmentCursor(const SegmentHeader& header, Source& body, std::string_view name);
    SegmentCursor(SegmentCursor&&) noexcept;
    ~SegmentCursor();
    /// To the next page; false: the body ended as it should (call no more). Throws data naming it.
    bool next();
    std::uint32_t page() const;
    Bytes data() const; ///< valid until next()

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// All pages of a segment whose @p header was decoded and whose body_sha256 was proved, by
/// SegmentCursor.
void read_segment(const SegmentHeader& header, Source& body, std::string_view name,
                  const PageVisitor& visit);

/// A cached or fetched segment in a file. Throws data when size or SHA-256 of the body is wrong.
SegmentHeader verify_segment_file(int fd, std::string_view name);

} // namespace zl
