/// What a replica holds, as the planners of merging and deleting need it. A replica can have
/// 100,000 objects and is planned for every minute, so an entry has no strings: generations are
/// numbered, and the key of a segment or of a merged one follows from its range.
#pragma once

#include "base/units.hpp"
#include "wal/replica_keys.hpp"
#include "wal/ship_state.hpp"

#include <cstdint>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace zl {

/// Level of a segment that is never merged.
inline constexpr int kStandsAlone = -1;
inline constexpr int kMaxMergeLevel = 3;

/// A CatalogueEntry in a KeepCatalogue.
struct KeepEntry {
    SequenceRange range;
    TimePoint time{};
    std::uint64_t size = 0;
    std::uint32_t generation = 0; ///< its number in the catalogue
    std::uint32_t key = 0;        ///< 0: follows from the range
    CatalogueEntry::Kind kind = CatalogueEntry::Kind::segment;
    std::int8_t level = 0; ///< 0: single; 1 .. kMaxMergeLevel: merged
    bool alone = false;    ///< never merged
};

class KeepCatalogue {
public:
    explicit KeepCatalogue(ReplicaKeys keys) : keys_(std::move(keys)) {}

    /// In the order of ShipState::visit_entries(). @p alone: never merge it, whatever its level is.
    void add(const CatalogueEntry& entry, bool alone = false);
    /// What was added as @p entry.
    CatalogueEntry full(const KeepEntry& entry) const;
    std::string key(const KeepEntry& entry) const;

    const std::vector<KeepEntry>& segments() const { return segments_; }
    const std::vector<KeepEntry>& merged() const { return merged_; }
    const std::vector<KeepEntry>& snapshots() const { return snapshots_; }

private:
    std::string usual_key(const KeepEntry& entry) const;
    std::uint32_t generation_number(const std::string& id);

    ReplicaKeys keys_;
    std::vector<KeepEntry> segments_, merged_, snapshots_;
    std::vector<std::string> generations_;
    std::unordered_map<std::string, std::uint32_t> generation_numbers_;
    std::vector<std::string> keys_of_others_; ///< KeepEntry::key - 1
};

// ---- what both planners ask; pointers are into the catalogue ----

bool by_first(const KeepEntry* a, const KeepEntry* b);

/// Sequences that snapshots contain, by generation.
class SnapshotStates {
public:
    explicit SnapshotStates(const std::vector<KeepEntry>& snapshots);
    /// Whether there is one in [first, last].
    bool within(std::uint32_t generation, std::uint64_t first, std::uint64_t last) const;

private:
    std::unordered_map<std::uint32_t, std::set<std::uint64_t>> states_;
};

/// Merged objects by what they cover.
class Covers {
public:
    explicit Covers(const std::vector<KeepEntry>& merged);
    /// The one of the lowest level that covers @p entry; null: none.
    const KeepEntry* lowest(const KeepEntry& entry) const;

private:
    const KeepEntry* of_level(const KeepEntry& entry, int level) const;
    std::vector<const KeepEntry*> levels_[kMaxMergeLevel + 1];
};

} // namespace zl
