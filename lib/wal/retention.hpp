/// What may be deleted, from the catalogue alone: pure functions.
///
/// A state (sequence) can be restored when a snapshot has it, or when an object of the same
/// generation ends in it that begins where a state that can be restored ends. Nothing is deleted
/// that would take this from a state in which a kept object ends (is_restorable). With D = 24 h
/// and B = the newest snapshot of a generation older than max(retain, D), these go:
///   - what ends at or before B, and snapshots before B
///   - what is covered by a merged object, when that is older than max(fine, D) (level 1), 3 x that
///     (level 2), 30 x that (level 3): until then every state younger than that is there
///   - snapshots older than max(fine, D) that are not the last of their day (UTC)
/// Never: what is younger than D; the newest snapshot of a generation and single segments after it;
/// the last segment of all (it proves who may write). So of a generation that was left, its newest
/// snapshot and all from there to its tip stay for good.
#pragma once

#include "base/units.hpp"
#include "wal/keep_catalogue.hpp"

#include <chrono>
#include <set>
#include <string>
#include <vector>

namespace zl {

struct RetentionRules {
    Millis retain{};
    Millis fine{};
    TimePoint now{};
    std::uint64_t head = 0; ///< this segment is never deleted, whatever the catalogue says
    Millis minimum_age{std::chrono::hours(24)}; ///< D
    /// For a prune from outside, while a keeper that does not know of it follows its own rules.
    /// Each leaves a way to every state, but what both delete may be one that both relied on. So
    /// only what ends at or before B goes (no thinning), and B is the last of its day, which no
    /// keeper deletes unless for a later B of its own. All that begins after B stays to the keeper:
    /// it does not take what starts in B, as B is a state between (propose_covered).
    bool beside_a_keeper = false;
    Millis day{std::chrono::hours(24)}; ///< tests have less time
};

/// Entries to delete, in an order that may stop anywhere.
std::vector<CatalogueEntry> plan_deletes(const KeepCatalogue& catalogue,
                                         const RetentionRules& rules);

/// Whether, without the keys @p removed, every state in which a kept object ends can still be
/// restored if it can be now.
bool is_restorable(const KeepCatalogue& catalogue, const std::set<std::string>& removed);

} // namespace zl
