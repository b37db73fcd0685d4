/// A database rebuilt from its replica: plan, verify, fetch, write each page once, prove, install.
///
/// States of a restore to FILE and what a kill leaves
///   planned     nothing on disk
///   fetching    `.FILE.zl-restore/` beside FILE: segments that were fetched and verified. A later
///               run throws it away and starts over (a lock in it keeps two runs apart)
///   writing     the same, with `db`, incomplete
///   proved      `db` complete, checksum equal to the header's, checked, fsynced
///   installed   renamed to FILE, directory fsynced; then the directory is removed
/// FILE never exists half-written.
#pragma once

#include "base/report.hpp"
#include "wal/replica_head.hpp"
#include "wal/snapshot.hpp"

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

/// What to restore. At most one of at, sequence; with generation: within it, else over all.
struct RestoreTarget {
    std::optional<TimePoint> at; ///< everything committed by then, as far as segments tell moments
    std::optional<std::uint64_t> sequence;
    std::string generation;
};

/// One object of a plan.
struct PlannedSegment {
    std::string key;
    SequenceRange range;
    std::uint64_t size = 0;
};

struct RestorePlan {
    std::string snapshot_key;
    std::uint64_t snapshot_size = 0;
    SnapshotIndex snapshot;
    std::vector<PlannedSegment> segments; ///< consecutive, ascending, after the snapshot
    std::string generation;
    std::uint64_t sequence = 0; ///< what the result will contain
    TimePoint time{};
    std::uint64_t bytes = 0, requests = 0; ///< at most: what newer pages cover is not fetched
    /// What a person should know: that the moment asked for is lost, that an object was passed by.
    std::vector<std::string> notes;
};

/// What a restore did.
struct RestoreOutcome {
    std::string generation;
    std::uint64_t sequence = 0;
    TimePoint time{};
    std::uint32_t page_size = 0, page_count = 0;
    std::uint64_t pages_written = 0; ///< each page once: never more than page_count
    std::uint64_t segments = 0, bytes_fetched = 0;
    std::vector<std::string> moved_aside; ///< with --force
};

/// One contiguous stretch that can be restored.
struct RestorableRange {
    std::string generation;
    std::string parent;
    std::uint64_t fork_sequence = 0;
    SequenceRange sequences;
    TimePoint from{}, to{};
    std::uint64_t snapshots = 0, segments = 0, bytes = 0;
    std::string granularity; ///< `segment`, `~1m`, ...
    bool current = false;
    std::vector<std::string> remarks; ///< gaps, holes: `hole: 120-124 missing`, `gap: TIME - TIME`
};

class Restorer {
public:
    struct Options {
        int jobs = 8;
        enum class Check { quick, full, none } check = Check::quick;
        bool force = false; ///< move an existing FILE and its sidecars aside
        /// For hints: the command that was run, without --at and --sequence, which are put behind
        /// it. Empty: `zl-restore -o FILE NAME`.
        std::string command;
    };
    Restorer(ObjectStore& store, ReplicaKeys keys, Options options, Log& log, Progress& progress,
             std::stop_token stop);
    ~Restorer();

    /// Whether there is any replica: decided by listing. Throws what list() throws (77, 75).
    bool exists();
    /// Throws not_found (no replica; or nothing before that moment: which is the earliest), data
    /// (a missing or corrupt object: which, the last good moment, the command that restores to it).
    /// An object that is damaged but not needed (an older snapshot or the single segments lead to
    /// the same state) is passed by with a note.
    RestorePlan plan(const RestoreTarget& target);
    std::vector<RestorableRange> list();

    /// Carry out @p plan into @p file; throws exists (73) when FILE or a sidecar is there and not
    /// forced. A 404 on the way plans again (retention may have passed by).
    void restore_file(const RestoreTarget& target, const std::string& file);
    /// The same into a temporary file, proved, then written to @p out (finish() is not called).
    void restore_stream(const RestoreTarget& target, const std::string& temp_dir, Sink& out);

    /// What the last restore was.
    const RestoreOutcome& done() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// --auto and --auto-restore. Truth table (DESIGN section 6): database there -> kept; absent and no
/// backup -> nothing; absent and a backup -> restored; absent and the answer unknown -> throws
/// (denied 77, transient 75, data 65). A file of 0 bytes without a WAL counts as absent; stale
/// -wal, -shm or -journal beside an absent database are moved aside and named.
enum class AutoRestore { kept, nothing, restored };
AutoRestore auto_restore(Restorer& restorer, const std::string& file, Log& log);

/// @p word for a POSIX shell: as it is, or in single quotes.
std::string shell_quoted(const std::string& word);

} // namespace zl
