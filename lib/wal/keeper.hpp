/// Keeps a replica small: merges segments, deletes what no kept moment needs (merge_plan.hpp and
/// retention.hpp say what that is). Works from the catalogue in ShipState, so an idle database
/// costs no request.
///
/// What a kill leaves
///   a merge      unnamed files (nothing), or the merged object without its entry: the next run
///                makes it again, finds it, verifies it and enters it (crash point keep.merged)
///   a delete     an entry without its object: deleted again, which the store takes for success
///                (crash point keep.deleted)
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"
#include "wal/age_clock.hpp"
#include "wal/merge_plan.hpp"
#include "wal/merger.hpp"
#include "wal/replica_keys.hpp"
#include "wal/retention.hpp"
#include "wal/ship_state.hpp"

#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

namespace zl {

/// One thread.
class ReplicaKeeper {
public:
    struct Options {
        std::optional<Millis> retain; ///< nullopt: delete nothing
        Millis fine{std::chrono::hours(24)};
        ReplicaClock::Now clock;    ///< default: the wall clock
        ReplicaClock::Elapsed boot; ///< default: boot_time()
        /// Compressed bytes of the sources of one merge. On disk, in unnamed files in the cache
        /// directory: about twice that for as long as a merge takes.
        std::uint64_t max_merge_bytes = 64 << 20;
    };
    ReplicaKeeper(ObjectStore& store, const ReplicaKeys& keys, ShipState& state, Options options,
                  Log& log);

    /// Brings the catalogue in line with the store, unless the note `catalogue` says that it is: a
    /// new cache directory; a host that takes over (clear the note before). Lists everything, reads
    /// a few headers of segments (generations are found by bisection) and the ends of all
    /// snapshots. A segment's time is then that of its object.
    void bootstrap();

    /// One merge, or up to 100 deletes, if any is due; false: nothing to do now. Throws transient,
    /// io, Interrupted (as the store does): nothing is lost, call again later. Objects that are
    /// missing or damaged, and missing rights to delete, are warned of once and passed over.
    bool step(std::stop_token stop);

private:
    bool look();
    void merge(const PlannedMerge& plan, std::stop_token stop);
    std::optional<std::vector<MergeSource>> fetch(const PlannedMerge& plan, std::stop_token stop);
    std::optional<MergeSource> fetch(const CatalogueEntry& entry, const SegmentHeader* before);
    void store_merged(int fd, const SegmentHeader& header);
    bool is_there(const SegmentHeader& header);
    void set_alone(const CatalogueEntry& entry);
    void remove_some(std::stop_token stop);
    void warn_once(const std::string& key, const std::string& message);

    ObjectStore& store_;
    ReplicaKeys keys_;
    ShipState& state_;
    Options options_;
    Log& log_;
    AgeClock age_clock_;
    std::deque<PlannedMerge> merges_;
    std::deque<CatalogueEntry> deletes_;
    TimePoint next_look_{}, next_delete_look_{};
    std::optional<std::uint64_t> looked_at_; ///< acknowledged sequence at the last look
    std::set<std::string> alone_, warned_;
    bool may_delete_ = true;
};

} // namespace zl
