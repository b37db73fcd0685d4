/// What is to be merged, from the catalogue alone: a pure function.
///
/// A run is made of consecutive objects of one generation that lie in one window of time:
///   level 1   segments        within 5 minutes   at most 64
///   level 2   level 1         within 1 hour      at most 16
///   level 3   level 2         within 1 day       at most 16
/// A segment that is alone in its window stands as it is on the next level too. So what lasted
/// longer than the window stays restorable, and what is stored grows with time and bytes, not with
/// the number of transactions. A run ends at every snapshot (the state of a snapshot must be where
/// objects begin), at an object that stands alone (level -1: a claim, a resync, a gap), and at 64
/// MiB. Merged objects are additional; what they cover goes by age.
#pragma once

#include "wal/keep_catalogue.hpp"

#include <vector>

namespace zl {

struct PlannedMerge {
    int level = 0;
    std::vector<CatalogueEntry> sources; ///< two or more, oldest first
    SequenceRange range() const { return {sources.front().range.first, sources.back().range.last}; }
};

/// @p max_bytes: of the sources of a merge.
std::vector<PlannedMerge> plan_merges(const KeepCatalogue& catalogue, std::uint64_t max_bytes);

} // namespace zl
