/// What is to be merged and what may be deleted, from the catalogue alone: pure functions.
///
/// Merging. A run is made of consecutive objects of one generation that lie in one window of time:
///   level 1   segments        within 5 minutes   at most 64
///   level 2   level 1         within 1 hour      at most 16
///   level 3   level 2         within 1 day       at most 16
/// A segment that is alone in its window stands as it is on the next level too. So what lasted
/// longer than the window stays restorable, and what is stored grows with time and bytes, not with
/// the number of transactions. A run ends at every snapshot (the state of a snapshot must be where
/// objects begin), at an object that stands alone (level -1: a claim, a resync, a gap), and at 64
/// MiB. Merged objects are additional; what they cover goes by age.
///
/// Deleting. A state (sequence) can be restored when a snapshot has it, or when an object of the
/// same generation ends in it that begins where a state that can be restored ends. Nothing is
/// deleted that would take this from a state in which a kept object ends (is_restorable). With D =
/// 24 h, B = the newest snapshot of a generation older than max(retain, D):
///   - what ends at or before B, and snapshots before B
///   - what is covered by a merged object, when that is older than max(fine, D) (level 1), 3 x that
///     (level 2), 30 x that (level 3): until then every state younger than that is there
///   - snapshots older than max(fine, D) that are not the last of their day (UTC)
/// Never: what is younger than D; the newest snapshot of a generation and single segments after it;
/// the last segment of all (it proves who may write). So of a generation that was left, its newest
/// snapshot and all from there to its tip stay for good.
#pragma once

#include "base/units.hpp"
#include "wal/ship_state.hpp"

#include <set>
#include <string>
#include <vector>

namespace zl {

/// Each list as ShipState::entries() gives it.
struct KeepCatalogue {
    std::vector<CatalogueEntry> segments, merged, snapshots;
};

/// Level of a segment that is never merged.
inline constexpr int kStandsAlone = -1;
inline constexpr int kMaxMergeLevel = 3;

struct PlannedMerge {
    int level = 0;
    std::vector<CatalogueEntry> sources; ///< two or more, oldest first
    SequenceRange range() const { return {sources.front().range.first, sources.back().range.last}; }
};

/// @p alone: keys of further objects that stand alone. @p max_bytes: of the sources of a merge.
std::vector<PlannedMerge> plan_merges(const KeepCatalogue& catalogue,
                                      const std::set<std::string>& alone, std::uint64_t max_bytes);

struct RetentionRules {
    Millis retain{};
    Millis fine{};
    TimePoint now{};
    std::uint64_t head = 0; ///< this segment is never deleted, whatever the catalogue says
};

/// Entries to delete, in an order that may stop anywhere.
std::vector<CatalogueEntry> plan_deletes(const KeepCatalogue& catalogue,
                                         const RetentionRules& rules);

/// Whether, without the keys @p removed, every state in which a kept object ends can still be
/// restored if it can be now.
bool is_restorable(const KeepCatalogue& catalogue, const std::set<std::string>& removed);

} // namespace zl
