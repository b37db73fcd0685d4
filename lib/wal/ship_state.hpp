/// What a shipper must not forget, in its cache directory (`DB.zl/`, mode 0700):
///
///   state.db                        SQLite (WAL, synchronous=FULL): position, queue, page hashes,
///                                   catalogue of what the store holds
///   {sequence:020}.wal.zst          segments that wait for the store: the object's bytes
///   lock, control                   one shipper at a time; its socket
///
/// Order of a capture: the segment's file is durable (written, fsynced, renamed, directory
/// fsynced), then one transaction takes position, queue row and page hashes forward together. A
/// file without a row was never sent, its pages are still in the WAL or in the difference to the
/// hashes: it is removed at the next start. A row without its file (or of another size): data was
/// deleted under us. That row and all after it are dropped at the opening, position and page hashes
/// are forgotten and broken() is true: what comes next is a new generation after newest().
/// acknowledged() and the rows before stay.
///
/// state.db appears by rename, with its schema: an empty one, or none beside segments, is damage.
/// Losing the whole directory loses the segments that were not yet sent as moments of their own;
/// the newest state is in the database and is shipped as a difference.
#pragma once

#include "base/units.hpp"
#include "state/sqlite.hpp"
#include "stream/hash.hpp"
#include "wal/page_hash.hpp"
#include "wal/replica_keys.hpp"
#include "wal/segment.hpp"

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace zl {

/// End of what was captured, in the live WAL.
struct WalPosition {
    WalSalt salt;
    std::uint64_t frame = 0; ///< last frame captured; 0: none of this WAL
    WalChecksum checksum;    ///< the chain up to there (frame 0: the header's)
    bool operator==(const WalPosition&) const = default;
};

/// The state of the database that the last captured segment leads to.
struct ShipPosition {
    std::string generation;
    std::uint64_t sequence = 0;
    Digest id; ///< of that segment's header
    TimePoint time{};
    std::uint32_t page_size = 0, page_count = 0;
    DbChecksum checksum = 0;
    std::optional<WalPosition> wal;      ///< nullopt: continuity with the live WAL is not claimed
    std::uint64_t device = 0, inode = 0; ///< of the database file
};

struct QueuedSegment {
    std::uint64_t sequence = 0;
    Digest id;
    std::string generation;
    SegmentKind kind = SegmentKind::segment;
    TimePoint time{};
    std::uint64_t size = 0; ///< of the object
    std::uint64_t frames = 0;
    bool attempted = false; ///< a PUT was begun: frozen (W8)
};

/// One object in the store, as this shipper knows it.
struct CatalogueEntry {
    enum class Kind { segment, merged, snapshot } kind = Kind::segment;
    std::string key;
    std::string generation;
    SequenceRange range; ///< snapshot: first = last = the sequence it contains
    TimePoint time{};    ///< of its last segment
    std::uint64_t size = 0;
    int level = 0; ///< merged: 1, 2, ...
};

using PageHash = std::pair<std::uint32_t, std::uint64_t>;

/// Thread-safe (one mutex; a segment's file is synced outside it). One thread captures.
/// Any method throws data when state.db turns out to be damaged, io when the disk is full: nothing
/// has changed then.
class ShipState {
public:
    /// look: another process may be shipping; nothing is created, removed or repaired (broken() is
    /// not known). not_found without a state.
    enum class Access { ship, look };
    /// Opens or creates @p directory and what is in it; removes files without a row and temporary
    /// ones. Throws data: state.db is damaged or of a newer zl (hint: what is lost by moving the
    /// directory aside), io. ship: the caller holds the directory's lock.
    explicit ShipState(std::string directory, Access access = Access::ship);
    const std::string& directory() const { return directory_; }

    /// 16 hex digits made at the first opening: this cache directory's identity in segments.
    const std::string& writer() const { return writer_; }
    /// Notes by name (`db_id`, `replica`, `gap_from` (lineage.hpp), ...); nullopt/empty = none.
    std::optional<std::string> note(const std::string& name);
    void set_note(const std::string& name, const std::string& value);
    void clear_note(const std::string& name);

    /// nullopt: nothing was captured yet, or forget_position().
    std::optional<ShipPosition> position();
    /// Position and page hashes; queued and acknowledged segments stay.
    void forget_position();
    /// The last segment made, queued or acknowledged: the next one follows it. sequence 0: none.
    QueuedSegment newest();
    /// At this opening a queued segment's file was missing: see above.
    bool broken() const { return broken_; }
    /// Only where we stand in the live WAL changed (a checkpoint, another WAL with nothing new).
    void move_wal(const std::optional<WalPosition>& wal);
    /// The same state (that of newest()) seen in another place: a file that was copied back, an
    /// adopted head.
    void set_position(const ShipPosition& position);

    // ---- capture ----
    /// Where the next segment's file is to be made: a temporary name in the directory.
    std::string temp_path(std::uint64_t sequence) const;
    /// fsync @p fd (open on temp_path), rename it to its name, fsync the directory, then commit one
    /// transaction: row, position, hashes. Hashes beyond to.page_count are dropped. @p changed:
    /// ascending is fastest; hash 0 = none. On an error the file is removed, nothing else changed.
    /// Crash points: ship.segment-file (file durable, no row), ship.captured.
    void commit_segment(int fd, const QueuedSegment& segment, const ShipPosition& to,
                        const std::vector<PageHash>& changed);

    // ---- page hashes (of the state at position()) ----
    /// Hashes of pages first .. first+count-1; 0 where there is none.
    std::vector<std::uint64_t> hashes(std::uint32_t first, std::size_t count);
    /// Hashes of @p pages (ascending), in that order.
    std::vector<std::uint64_t> hashes_of(const std::vector<std::uint32_t>& pages);
    /// Number of pages that have one.
    std::uint32_t hashed_pages();
    /// A new generation begins with a scan of the whole database, page by page, too much for one
    /// transaction: forget the position and all hashes (one transaction; what is queued and
    /// acknowledged stays), put hashes in runs (each a transaction), then commit_segment() of the
    /// claim makes it a position again. A kill in between leaves no position.
    void begin_rehash();
    void put_hashes(std::uint32_t first, const std::vector<std::uint64_t>& hashes);

    // ---- queue ----
    std::optional<QueuedSegment> oldest();
    std::optional<QueuedSegment> queued(std::uint64_t sequence);
    struct QueueSize {
        std::uint64_t segments = 0, bytes = 0;
        std::optional<TimePoint> oldest_time;
    };
    QueueSize queue_size();
    std::string queued_path(std::uint64_t sequence) const;
    /// The oldest, if it is at most @p up_to: from now on drop_unsent() lets it be.
    std::optional<QueuedSegment> begin_sending(std::uint64_t up_to);
    /// Durable before the PUT is sent.
    void mark_attempted(std::uint64_t sequence);
    /// The store confirmed it: one transaction moves the row into the catalogue and the
    /// acknowledged position forward; then the file is removed. Only the oldest can be
    /// acknowledged. @p key: of the object. Crash point: ship.acknowledged (row moved, file still
    /// there).
    void acknowledge(std::uint64_t sequence, const std::string& key);
    /// Highest acknowledged segment (sequence, id, time, generation); sequence 0: none.
    QueuedSegment acknowledged();
    /// Take over another's head as acknowledged (a host that restored; a new generation's parent).
    /// The position is forgotten, page hashes stay: set_position() or the commit_segment() of a
    /// claim follows. The queue must be empty. An id of zeros: there is no such segment, only
    /// numbers up to its sequence are used up (a replica that vanished).
    void adopt(const QueuedSegment& acknowledged);
    /// Drop the queue (the files too), position and hashes: the replica turned out to be another's,
    /// the numbers too. Nothing is being sent meanwhile.
    void drop_queue();
    /// The same from that sequence on, as what follows a claim can never be restored; but not a
    /// segment that a PUT was attempted of, or that is on its way at this moment.
    void drop_unsent(std::uint64_t from);

    // ---- catalogue: what the store holds, for merging and retention ----
    void add_entry(const CatalogueEntry& entry);
    void remove_entry(const std::string& key);
    /// Many, in one transaction.
    void add_entries(const std::vector<CatalogueEntry>& entries);
    void remove_entries(const std::vector<std::string>& keys);
    /// Ordered by range.last, then key.
    std::vector<CatalogueEntry> entries(CatalogueEntry::Kind kind);
    /// The same one by one, as there may be 100,000. @p visit must not call this object.
    void visit_entries(CatalogueEntry::Kind kind,
                       const std::function<void(const CatalogueEntry&)>& visit);
    /// A multipart upload of ours begun and not known to be ended: aborted at the next start.
    void begin_upload(const std::string& key, const std::string& upload_id);
    void end_upload(const std::string& upload_id);
    std::vector<std::pair<std::string, std::string>> open_uploads();

private:
    template <typename F>
    auto locked(F f);
    void read_writer();
    void check_consistent();
    void settle_files();
    void drop_rows_from(std::uint64_t sequence);
    void drop_from(std::uint64_t sequence);
    void write_put();
    void publish_file(int fd, const QueuedSegment& segment);
    QueuedSegment newest_locked();

    std::string directory_;
    std::mutex mutex_;
    Db db_;
    std::string writer_;
    bool broken_ = false;
    std::vector<PageHash> put_; ///< not written yet
    QueueSize queued_;          ///< without oldest_time
    std::uint64_t sending_ = 0; ///< the last one that begin_sending() gave
};

} // namespace zl
