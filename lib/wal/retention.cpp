#include "wal/retention.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <unordered_set>

namespace zl {

namespace {

using Entry = CatalogueEntry;
using std::chrono::hours;
using std::chrono::minutes;

constexpr Millis kMinimumAge = hours(24);
constexpr Millis kWindow[] = {Millis(0), minutes(5), hours(1), hours(24)};
constexpr std::size_t kMostTogether[] = {0, 64, 16, 16};
/// How many times `fine` something must be old that is covered by a merged object of this level.
constexpr int kAgeFactor[] = {0, 1, 3, 30};

int level_of(const Entry& e) {
    return e.kind == Entry::Kind::merged ? std::clamp(e.level, 1, kMaxMergeLevel) : 0;
}

bool by_first(const Entry* a, const Entry* b) {
    return a->range.first != b->range.first ? a->range.first < b->range.first
                                            : a->range.last < b->range.last;
}

bool covers(const Entry& outer, const Entry& inner) {
    return outer.generation == inner.generation && outer.range.first <= inner.range.first &&
           outer.range.last >= inner.range.last && level_of(outer) > level_of(inner);
}

/// Sequences that snapshots contain, by generation.
class SnapshotStates {
public:
    explicit SnapshotStates(const std::vector<Entry>& snapshots) {
        for (const Entry& s : snapshots)
            states_[s.generation].insert(s.range.last);
    }
    /// Whether there is one in [first, last].
    bool within(const std::string& generation, std::uint64_t first, std::uint64_t last) const {
        auto of = states_.find(generation);
        if (of == states_.end() || first > last)
            return false;
        auto at = of->second.lower_bound(first);
        return at != of->second.end() && *at <= last;
    }

private:
    std::map<std::string, std::set<std::uint64_t>> states_;
};

/// Merged objects by what they cover.
class Covers {
public:
    explicit Covers(const std::vector<Entry>& merged) {
        for (const Entry& m : merged)
            levels_[level_of(m)].push_back(&m);
        for (auto& level : levels_)
            std::sort(level.begin(), level.end(), by_first);
    }
    /// The one of @p level that covers @p e; null: none.
    const Entry* of(const Entry& e, int level) const {
        const auto& list = levels_[level];
        auto after = std::upper_bound(
            list.begin(), list.end(), e.range.first,
            [](std::uint64_t first, const Entry* m) { return first < m->range.first; });
        // Of two hosts' merged objects some may overlap: look at a few, not only at the nearest.
        for (int tries = 0; after != list.begin() && tries < 4; ++tries)
            if (--after; covers(**after, e))
                return *after;
        return nullptr;
    }
    /// The one of the lowest level.
    const Entry* lowest(const Entry& e) const {
        for (int level = level_of(e) + 1; level <= kMaxMergeLevel; ++level)
            if (const Entry* m = of(e, level))
                return m;
        return nullptr;
    }

private:
    std::vector<const Entry*> levels_[kMaxMergeLevel + 1];
};

// ---------------------------------------------------------------------------------------- merging

class MergePlanner {
public:
    MergePlanner(const KeepCatalogue& c, const std::set<std::string>& alone,
                 std::uint64_t max_bytes)
        : snapshots_(c.snapshots), max_bytes_(max_bytes) {
        Covers covers(c.merged);
        for (const auto* list : {&c.segments, &c.merged})
            for (const Entry& e : *list)
                if (!covers.lowest(e))
                    items_.push_back({&e, e.level <= kStandsAlone || alone.contains(e.key), true});
        std::sort(items_.begin(), items_.end(),
                  [](const Item& a, const Item& b) { return by_first(a.entry, b.entry); });
    }

    std::vector<PlannedMerge> run() {
        for (int level = 1; level <= kMaxMergeLevel; ++level)
            for (std::size_t i = 0; i < items_.size();)
                i = take_run(i, level);
        return std::move(plan_);
    }

private:
    struct Item {
        const Entry* entry;
        bool alone;
        bool settled; ///< no lower level will merge it any more
    };
    enum class Next { joins, ends_run, unknown };

    /// Can be a source at @p level.
    static bool fits(const Item& i, int level) { return !i.alone && level_of(*i.entry) < level; }

    /// What the item after the run [begin, end) does to it.
    Next look(std::size_t begin, std::size_t end, std::uint64_t bytes, int level) const {
        const Entry& first = *items_[begin].entry;
        const Entry& last = *items_[end - 1].entry;
        if (end - begin == kMostTogether[level] ||
            snapshots_.within(last.generation, last.range.last, last.range.last))
            return Next::ends_run;
        if (end == items_.size())
            return Next::unknown;
        const Item& next = items_[end];
        const Entry& e = *next.entry;
        if (!fits(next, level) || e.generation != first.generation ||
            e.range.first != last.range.last + 1 || e.time - first.time >= kWindow[level] ||
            bytes + e.size > max_bytes_)
            return Next::ends_run;
        return next.settled ? Next::joins : Next::unknown;
    }

    /// From item @p begin; returns where to go on.
    std::size_t take_run(std::size_t begin, int level) {
        if (!fits(items_[begin], level) || !items_[begin].settled)
            return begin + 1;
        std::uint64_t bytes = items_[begin].entry->size;
        std::size_t end = begin + 1;
        Next next = look(begin, end, bytes, level);
        for (; next == Next::joins; next = look(begin, end, bytes, level))
            bytes += items_[end++].entry->size;
        if (next == Next::ends_run && end - begin == 1)
            return end; // alone in its window
        for (std::size_t i = begin; i < end; ++i)
            items_[i].settled = false;
        if (next == Next::ends_run) {
            PlannedMerge merge;
            merge.level = level;
            for (std::size_t i = begin; i < end; ++i)
                merge.sources.push_back(*items_[i].entry);
            plan_.push_back(std::move(merge));
        }
        return end;
    }

    SnapshotStates snapshots_;
    std::uint64_t max_bytes_;
    std::vector<Item> items_; ///< what no merged object covers
    std::vector<PlannedMerge> plan_;
};

// --------------------------------------------------------------------------------------- deleting

using States = std::map<std::string, std::unordered_set<std::uint64_t>>;
using Removed = std::unordered_set<const Entry*>;

bool has(const States& states, const Entry& e) {
    auto of = states.find(e.generation);
    return of != states.end() && of->second.contains(e.range.last);
}

/// Which states can be restored, with and without some entries.
class StateFinder {
public:
    explicit StateFinder(const KeepCatalogue& c) : snapshots_(c.snapshots) {
        objects_.reserve(c.segments.size() + c.merged.size());
        for (const auto* list : {&c.segments, &c.merged})
            for (const Entry& e : *list)
                objects_.push_back(&e);
        // An object ends where or behind where it begins: in this order all ways to its beginning
        // are known when it comes.
        std::sort(objects_.begin(), objects_.end(), by_first);
        now_ = find({});
    }

    /// Whether every state in which a kept entry ends can be restored still, if it can now.
    bool restorable_without(const Removed& removed) const {
        States after = find(removed);
        auto is_lost = [&](const Entry& e) {
            return !removed.contains(&e) && has(now_, e) && !has(after, e);
        };
        return std::none_of(snapshots_.begin(), snapshots_.end(), is_lost) &&
               std::none_of(objects_.begin(), objects_.end(),
                            [&](const Entry* e) { return is_lost(*e); });
    }

private:
    States find(const Removed& removed) const {
        States states;
        for (const Entry& s : snapshots_)
            if (!removed.contains(&s))
                states[s.generation].insert(s.range.last);
        for (const Entry* e : objects_) {
            auto of = states.find(e->generation);
            if (of != states.end() && of->second.contains(e->range.first - 1) &&
                !removed.contains(e))
                of->second.insert(e->range.last);
        }
        return states;
    }

    const std::vector<Entry>& snapshots_;
    std::vector<const Entry*> objects_;
    States now_;
};

class DeletePlanner {
public:
    DeletePlanner(const KeepCatalogue& c, const RetentionRules& rules)
        : c_(c), retain_(rules.now - std::max(rules.retain, kMinimumAge)),
          fine_(std::max(rules.fine, kMinimumAge)), rules_(rules), snapshots_(c.snapshots),
          covers_(c.merged), states_(c) {
        for (const Entry& e : c.segments)
            head_ = std::max(head_, e.range.last);
        for (const Entry& s : c.snapshots) {
            Generation& g = generations_[s.generation];
            if (!g.newest || s.range.last >= g.newest->range.last)
                g.newest = &s;
            if (s.time <= retain_ && (!g.base || s.range.last >= g.base->range.last))
                g.base = &s;
            const Entry*& of_day = g.last_of_day[day(s)];
            if (!of_day || s.range.last >= of_day->range.last)
                of_day = &s;
        }
    }

    std::vector<Entry> run() {
        propose_before_base();
        propose_covered();
        accept(0, proposed_.size());
        const std::size_t objects = proposed_.size();
        propose_snapshots(); // some of these must stay as a rule
        accept(objects, proposed_.size());
        return std::move(accepted_);
    }

private:
    struct Generation {
        const Entry* newest = nullptr; ///< snapshots
        const Entry* base = nullptr;
        std::map<std::int64_t, const Entry*> last_of_day;
    };

    static std::int64_t day(const Entry& e) {
        return std::chrono::floor<std::chrono::days>(e.time).time_since_epoch().count();
    }
    bool older(const Entry& e, Millis age) const { return e.time <= rules_.now - age; }

    const Generation* generation(const Entry& e) const {
        auto of = generations_.find(e.generation);
        return of == generations_.end() ? nullptr : &of->second;
    }

    /// Whatever the rule that wants it deleted.
    bool deletable(const Entry& e) const {
        const Generation* g = generation(e);
        if (!g || !older(e, kMinimumAge))
            return false; // without a snapshot nothing of it is needed less than the rest
        if (e.kind == Entry::Kind::snapshot)
            return &e != g->newest;
        return e.kind == Entry::Kind::merged ||
               (e.range.last <= g->newest->range.last && e.range.last != head_ &&
                e.range.last != rules_.head);
    }

    void propose(const Entry& e) {
        if (deletable(e) && seen_.insert(&e).second)
            proposed_.push_back(&e);
    }

    /// Newest first and snapshots last, so that what is left at any moment can be restored.
    void propose_before_base() {
        std::vector<const Entry*> doomed;
        for (const auto* list : {&c_.segments, &c_.merged})
            for (const Entry& e : *list)
                if (const Generation* g = generation(e);
                    g && g->base && e.range.first <= g->base->range.last &&
                    (e.range.last <= g->base->range.last || e.kind == Entry::Kind::merged))
                    doomed.push_back(&e);
        std::sort(doomed.begin(), doomed.end(),
                  [](const Entry* a, const Entry* b) { return a->range.last > b->range.last; });
        for (auto s = c_.snapshots.rbegin(); s != c_.snapshots.rend(); ++s)
            if (const Generation* g = generation(*s);
                g && g->base && s->range.last < g->base->range.last)
                doomed.push_back(&*s);
        for (const Entry* e : doomed)
            propose(*e);
    }

    void propose_covered() {
        for (const auto* list : {&c_.segments, &c_.merged})
            for (auto e = list->rbegin(); e != list->rend(); ++e) {
                const Entry* by = covers_.lowest(*e);
                // What is covered goes together, when the last state that is lost was replaced by
                // the last of all. A snapshot inside needs a way on that begins at its own state.
                if (by && older(*by, fine_ * kAgeFactor[level_of(*by)]) &&
                    !snapshots_.within(e->generation, by->range.first, e->range.first - 1))
                    propose(*e);
            }
    }

    void propose_snapshots() {
        for (const Entry& s : c_.snapshots) {
            const Generation* g = generation(s);
            if (older(s, fine_) && &s != g->base && &s != g->last_of_day.at(day(s)))
                propose(s);
        }
    }

    /// Takes proposals [begin, end) if all may go, else looks at the halves: usually one check is
    /// enough, and one that must stay does not keep the rest.
    void accept(std::size_t begin, std::size_t end) {
        if (begin == end)
            return;
        for (std::size_t i = begin; i < end; ++i)
            removed_.insert(proposed_[i]);
        if (states_.restorable_without(removed_)) {
            for (std::size_t i = begin; i < end; ++i)
                accepted_.push_back(*proposed_[i]);
            return;
        }
        for (std::size_t i = begin; i < end; ++i)
            removed_.erase(proposed_[i]);
        if (end - begin == 1)
            return;
        std::size_t middle = begin + (end - begin) / 2;
        accept(begin, middle);
        accept(middle, end);
    }

    const KeepCatalogue& c_;
    TimePoint retain_;
    Millis fine_;
    RetentionRules rules_;
    SnapshotStates snapshots_;
    Covers covers_;
    StateFinder states_;
    std::map<std::string, Generation> generations_;
    std::uint64_t head_ = 0;
    std::vector<const Entry*> proposed_;
    Removed removed_, seen_;
    std::vector<Entry> accepted_;
};

} // namespace

std::vector<PlannedMerge> plan_merges(const KeepCatalogue& catalogue,
                                      const std::set<std::string>& alone, std::uint64_t max_bytes) {
    return MergePlanner(catalogue, alone, max_bytes).run();
}

std::vector<CatalogueEntry> plan_deletes(const KeepCatalogue& catalogue,
                                         const RetentionRules& rules) {
    return DeletePlanner(catalogue, rules).run();
}

bool is_restorable(const KeepCatalogue& catalogue, const std::set<std::string>& removed) {
    Removed gone;
    for (const auto* list : {&catalogue.segments, &catalogue.merged, &catalogue.snapshots})
        for (const CatalogueEntry& e : *list)
            if (removed.contains(e.key))
                gone.insert(&e);
    return StateFinder(catalogue).restorable_without(gone);
}

} // namespace zl
