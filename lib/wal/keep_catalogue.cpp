#include "wal/keep_catalogue.hpp"

#include <algorithm>

namespace zl {

namespace {

using Kind = CatalogueEntry::Kind;

bool covers(const KeepEntry& outer, const KeepEntry& inner) {
    return outer.generation == inner.generation && outer.range.first <= inner.range.first &&
           outer.range.last >= inner.range.last && outer.level > inner.level;
}

} // namespace

// ------------------------------------------------------------------------------------- catalogue

void KeepCatalogue::add(const CatalogueEntry& entry, bool alone) {
    KeepEntry e;
    e.range = entry.range;
    e.time = entry.time;
    e.size = entry.size;
    e.generation = generation_number(entry.generation);
    e.kind = entry.kind;
    if (e.kind == Kind::merged)
        e.level = static_cast<std::int8_t>(std::clamp(entry.level, 1, kMaxMergeLevel));
    e.alone = alone || entry.level <= kStandsAlone;
    if (usual_key(e) != entry.key) {
        keys_of_others_.push_back(entry.key);
        e.key = static_cast<std::uint32_t>(keys_of_others_.size());
    }
    (e.kind == Kind::segment  ? segments_
     : e.kind == Kind::merged ? merged_
                              : snapshots_)
        .push_back(e);
}

CatalogueEntry KeepCatalogue::full(const KeepEntry& e) const {
    const int level = e.kind == Kind::segment && e.alone ? kStandsAlone : e.level;
    return {e.kind, key(e), generations_[e.generation], e.range, e.time, e.size, level};
}

std::string KeepCatalogue::key(const KeepEntry& e) const {
    return e.key == 0 ? usual_key(e) : keys_of_others_[e.key - 1];
}

/// Empty: snapshots are named after the time when they were begun.
std::string KeepCatalogue::usual_key(const KeepEntry& e) const {
    return e.kind == Kind::segment  ? keys_.segment(e.range.last)
           : e.kind == Kind::merged ? keys_.merged(e.range)
                                    : std::string();
}

std::uint32_t KeepCatalogue::generation_number(const std::string& id) {
    auto [at, is_new] =
        generation_numbers_.try_emplace(id, static_cast<std::uint32_t>(generations_.size()));
    if (is_new)
        generations_.push_back(id);
    return at->second;
}

// ------------------------------------------------------------------------------------ its objects

bool by_first(const KeepEntry* a, const KeepEntry* b) {
    return a->range.first != b->range.first ? a->range.first < b->range.first
                                            : a->range.last < b->range.last;
}

SnapshotStates::SnapshotStates(const std::vector<KeepEntry>& snapshots) {
    for (const KeepEntry& s : snapshots)
        states_[s.generation].insert(s.range.last);
}

bool SnapshotStates::within(std::uint32_t generation, std::uint64_t first,
                            std::uint64_t last) const {
    auto of = states_.find(generation);
    if (of == states_.end() || first > last)
        return false;
    auto at = of->second.lower_bound(first);
    return at != of->second.end() && *at <= last;
}

Covers::Covers(const std::vector<KeepEntry>& merged) {
    for (const KeepEntry& m : merged)
        levels_[m.level].push_back(&m);
    for (auto& level : levels_)
        std::sort(level.begin(), level.end(), by_first);
}

const KeepEntry* Covers::of_level(const KeepEntry& e, int level) const {
    const auto& list = levels_[level];
    auto after = std::upper_bound(
        list.begin(), list.end(), e.range.first,
        [](std::uint64_t first, const KeepEntry* m) { return first < m->range.first; });
    // Of two hosts' merged objects some may overlap: look at a few, not only at the nearest.
    for (int tries = 0; after != list.begin() && tries < 4; ++tries)
        if (--after; covers(**after, e))
            return *after;
    return nullptr;
}

const KeepEntry* Covers::lowest(const KeepEntry& e) const {
    for (int level = e.level + 1; level <= kMaxMergeLevel; ++level)
        if (const KeepEntry* m = of_level(e, level))
            return m;
    return nullptr;
}

} // namespace zl
