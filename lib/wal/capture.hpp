/// From the live WAL into the cache: the part of the shipper that touches the database.
///
/// States of the position (ShipState::position) and what a kill leaves
///   none        nothing is captured. Next: begin_generation()
///   with wal    the WAL up to `frame` is captured. After a kill: attach() proves that those frames
///               are still there, unchanged (then it goes on), or compares all pages
///   without wal the last segment is right, but the live database may be anywhere: compare
/// Checkpoint (W3), under the barrier; K marks what a kill leaves:
///   tail captured -> reader released -> PASSIVE -> reader begun -> barrier dropped
///   (a large WAL: the read lock is moved to the end and most is back-filled before that, unhindered)
///   K anywhere: the position is that of the tail. If the WAL was restarted meanwhile, attach()
///   compares all pages; nothing is lost, as the database is all there.
/// A change of salt (a restarted WAL) under our read lock: SQLite restarts a WAL only when all of
/// it is in the file and no reader needs it. If we hold slot 0, that was so when we began to read,
/// and nothing appended since can have been moved back (we block that); if we hold another slot, no
/// restart can happen. So it is in order exactly if all that the WAL held when we began to read
/// (`begun_`) is captured; else it is a loss of continuity (W6).
///
/// Thread: the capture thread only; the pages of a view() may be read by another.
#pragma once

#include "base/report.hpp"
#include "wal/page_view.hpp"
#include "wal/replica_clock.hpp"
#include "wal/ship_state.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace zl {

/// What every segment of this shipper carries.
struct ReplicaIdentity {
    std::string db_id, generation, writer, host;
};

/// Where a new generation branches off.
struct Fork {
    std::string parent;              ///< generation; empty: the first
    std::uint64_t fork_sequence = 0; ///< last sequence shared with it; 0: not known
    std::uint64_t claim_sequence = 1;
    Digest prev;       ///< id of segment claim_sequence - 1, if there is one
    TimePoint after{}; ///< times must be later than this
    std::string reason;
    std::optional<TimePoint> gap_from; ///< as in SegmentHeader
};

class Capture {
public:
    Capture(std::unique_ptr<LiveDb> db, ShipState& state, ReplicaClock& clock, Log& log, int level);

    LiveDb& db() { return *db_; }
    void set_identity(ReplicaIdentity identity) { identity_ = std::move(identity); }

    enum class Continuity {
        kept,       ///< what follows is in the WAL
        lost,       ///< compare() is needed
        no_position ///< begin_generation() is needed
    };
    /// After opening, or after end_read() and begin_read(): whether the WAL still continues where
    /// the position says. @p reason tells why not.
    Continuity attach(std::string& reason);

    enum class Step { nothing, captured, lost };
    /// Take committed transactions, at most about 16 MiB of them or @p limit_bytes (one transaction
    /// is never cut), into one segment. lost: continuity is gone, for @p reason.
    Step step(std::string& reason, std::uint64_t limit_bytes = UINT64_MAX);
    /// Frames that are committed but not captured; nullopt: cannot be told just now.
    std::optional<std::uint64_t> pending_frames();
    /// What is committed now, to be compared with reached(); nullopt: cannot be told just now.
    std::optional<WalPosition> committed();
    /// Everything that was committed at @p goal is captured.
    bool reached(const WalPosition& goal) const;
    /// Frames in the WAL that are not in the file because of our lock.
    std::uint64_t wal_frames() const { return wal_frames_; }
    /// Frames captured since the last complete checkpoint.
    std::uint64_t since_checkpoint() const { return since_checkpoint_; }

    enum class Checkpoint { complete, partial, busy, lost };
    /// W3. partial: other readers hold some frames back. busy: a writer is at work, or there was
    /// too much to capture under the barrier, or the read lock is not held; try again later.
    Checkpoint checkpoint(std::string& reason);

    /// To be called about once a second: somebody wrote into the database file who is neither a
    /// checkpointer nor us (a backup was copied over it, say); the wal-index tells nothing of that.
    bool file_was_written_over();

    /// Compare every page with its hash and take what differs as one segment marked @p reason.
    /// false: it differs so much that a new generation is cheaper, or the page size does; nothing
    /// was captured then. @p gap_from is recorded in the segment. Warns when commits that were
    /// captured are gone, as after a loss of power with synchronous=NORMAL.
    bool compare(const std::string& reason, std::optional<TimePoint> gap_from);
    /// Checksum of the live database as of now, storing every page's hash; the position is gone
    /// until begin_generation() or adopt() follows.
    DbChecksum rehash();
    /// Whether the live database, as of now, is what @p head leads to. Stores nothing.
    bool equals(const SegmentHeader& head);
    /// After rehash(): the claim of a new generation, whose state is that of rehash().
    void begin_generation(const Fork& fork);
    /// After equals(@p head) said so: that becomes our position, whatever was committed since.
    void adopt(const SegmentHeader& head);
    const std::optional<ShipPosition>& position() const { return position_; }

    /// The state at the position, for a snapshot: consistent until end_read(), checkpoint() or
    /// destruction, so the caller sees to it that neither happens. @p cancel as in PageView.
    /// nullopt: no position in the live WAL now.
    struct View {
        ShipPosition position;
        std::unique_ptr<PageView> pages;
    };
    std::optional<View> view(const std::atomic<bool>* cancel);
    /// Whether there is a position that a view can show: others may move back what was in the WAL
    /// when our lock began, so all of that has to be captured first.
    bool has_view() const;

private:
    struct Scan {
        std::uint32_t page_count = 0;
        DbChecksum checksum = 0;
        WalPosition wal;
        std::vector<WalBatch::Place> overlay;
    };
    /// Hashes of pages first, first+1, ...; false stops.
    using ScanVisitor =
        std::function<bool(std::uint32_t first, const std::vector<std::uint64_t>& hashes)>;
    std::optional<WalIndex> stable_index();
    std::optional<WalPosition> start_of_wal(const WalIndex& index) const;
    void note_begin(const WalIndex& index);
    bool all_captured_at_begin() const;
    void note_checkpointed(DbChecksum checksum);
    void warn_if_gone_back(const ShipPosition& from, DbChecksum now);
    std::optional<WalPosition> next_from(const WalIndex& index, std::string& reason);
    void backfill_ahead();
    std::vector<std::uint32_t> unwritten(const WalBatch& batch) const;
    std::vector<WalBatch::Place> overlay(const WalIndex& index);
    Scan scan_start();
    void scan(Scan& scan, const ScanVisitor& visit);
    void store_hashes(Scan& scan);
    void take(const WalBatch& batch, PageSource& pages, std::uint64_t frames);
    SegmentHeader next_header();
    void write_segment(SegmentHeader& header, const std::vector<std::uint32_t>& list,
                       PageSource& pages, const WalPosition& end);
    void commit(const SegmentHeader& header, int fd, std::uint64_t size, const WalPosition& end,
                const std::vector<PageHash>& hashes);

    std::unique_ptr<LiveDb> db_;
    ShipState& state_;
    ReplicaClock& clock_;
    Log& log_;
    int level_;
    WalReader wal_;
    ReplicaIdentity identity_;
    std::optional<ShipPosition> position_; ///< as in state_
    WalPosition begun_;                    ///< salt and last frame when the read lock was taken
    int misreads_ = 0;
    bool wal_is_cut_ = false;              ///< it has lost frames that were captured
    Scan scanned_;                         ///< of the last rehash() or equals()
    std::uint64_t wal_frames_ = 0, since_checkpoint_ = 0, checkpoints_ = 0;
    /// What moves when a checkpointer, or we, write into the file.
    struct Written {
        LiveDb::FileStamp stamp;
        WalSalt salt;
        std::uint32_t backfilled = 0;
        std::uint64_t checkpoints = 0;
    };
    std::optional<Written> written_;
    bool suspicious_ = false;
};

} // namespace zl
