#include "wal/retention.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <unordered_map>
#include <unordered_set>

namespace zl {

namespace {

using Kind = CatalogueEntry::Kind;

/// How many times `fine` something must be old that is covered by a merged object of this level.
constexpr int kAgeFactor[] = {0, 1, 3, 30};

using States = std::unordered_map<std::uint32_t, std::unordered_set<std::uint64_t>>;
using Removed = std::unordered_set<const KeepEntry*>;

bool has(const States& states, const KeepEntry& e) {
    auto of = states.find(e.generation);
    return of != states.end() && of->second.contains(e.range.last);
}

/// Which states can be restored, with and without some entries.
class StateFinder {
public:
    explicit StateFinder(const KeepCatalogue& c) : snapshots_(c.snapshots()) {
        objects_.reserve(c.segments().size() + c.merged().size());
        for (const auto* list : {&c.segments(), &c.merged()})
            for (const KeepEntry& e : *list)
                objects_.push_back(&e);
        // An object ends where or behind where it begins: in this order all ways to its beginning
        // are known when it comes.
        std::sort(objects_.begin(), objects_.end(), by_first);
        now_ = find({});
    }

    /// Whether every state in which a kept entry ends can be restored still, if it can now.
    bool restorable_without(const Removed& removed) const {
        States after = find(removed);
        auto is_lost = [&](const KeepEntry& e) {
            return !removed.contains(&e) && has(now_, e) && !has(after, e);
        };
        return std::none_of(snapshots_.begin(), snapshots_.end(), is_lost) &&
               std::none_of(objects_.begin(), objects_.end(),
                            [&](const KeepEntry* e) { return is_lost(*e); });
    }

private:
    States find(const Removed& removed) const {
        States states;
        for (const KeepEntry& s : snapshots_)
            if (!removed.contains(&s))
                states[s.generation].insert(s.range.last);
        for (const KeepEntry* e : objects_) {
            auto of = states.find(e->generation);
            if (of != states.end() && of->second.contains(e->range.first - 1) &&
                !removed.contains(e))
                of->second.insert(e->range.last);
        }
        return states;
    }

    const std::vector<KeepEntry>& snapshots_;
    std::vector<const KeepEntry*> objects_;
    States now_;
};

class DeletePlanner {
public:
    DeletePlanner(const KeepCatalogue& c, const RetentionRules& rules)
        : c_(c), retain_(rules.now - std::max(rules.retain, rules.minimum_age)),
          fine_(std::max(rules.fine, rules.minimum_age)), rules_(rules), snapshots_(c.snapshots()),
          covers_(c.merged()), states_(c) {
        for (const KeepEntry& e : c.segments())
            head_ = std::max(head_, e.range.last);
        for (const KeepEntry& s : c.snapshots()) {
            Generation& g = generations_[s.generation];
            if (!g.newest || s.range.last >= g.newest->range.last)
                g.newest = &s;
            const KeepEntry*& of_day = g.last_of_day[day(s)];
            if (!of_day || s.range.last >= of_day->range.last)
                of_day = &s;
        }
        for (const KeepEntry& s : c.snapshots()) {
            Generation& g = generations_.at(s.generation);
            const bool may_be = !rules.beside_a_keeper || &s == g.last_of_day.at(day(s));
            if (may_be && s.time <= retain_ && (!g.base || s.range.last >= g.base->range.last))
                g.base = &s;
        }
    }

    std::vector<CatalogueEntry> run() {
        propose_before_base();
        if (rules_.beside_a_keeper) {
            accept(0, proposed_.size());
            return std::move(accepted_);
        }
        propose_covered();
        accept(0, proposed_.size());
        const std::size_t objects = proposed_.size();
        propose_snapshots(); // some of these must stay as a rule
        accept(objects, proposed_.size());
        return std::move(accepted_);
    }

private:
    struct Generation {
        const KeepEntry* newest = nullptr; ///< snapshots
        const KeepEntry* base = nullptr;
        std::map<std::int64_t, const KeepEntry*> last_of_day;
    };

    std::int64_t day(const KeepEntry& e) const {
        return e.time.time_since_epoch() / rules_.day; // times are after 1970
    }
    bool older(const KeepEntry& e, Millis age) const { return e.time <= rules_.now - age; }

    const Generation* generation(const KeepEntry& e) const {
        auto of = generations_.find(e.generation);
        return of == generations_.end() ? nullptr : &of->second;
    }

    /// Whatever the rule that wants it deleted.
    bool deletable(const KeepEntry& e) const {
        const Generation* g = generation(e);
        if (!g || !older(e, rules_.minimum_age))
            return false; // without a snapshot nothing of it is needed less than the rest
        if (e.kind == Kind::snapshot)
            return &e != g->newest;
        return e.kind == Kind::merged || (e.range.last <= g->newest->range.last &&
                                          e.range.last != head_ && e.range.last != rules_.head);
    }

    void propose(const KeepEntry& e) {
        if (deletable(e) && seen_.insert(&e).second)
            proposed_.push_back(&e);
    }

    /// Newest first and snapshots last, so that what is left at any moment can be restored.
    void propose_before_base() {
        std::vector<const KeepEntry*> doomed;
        for (const auto* list : {&c_.segments(), &c_.merged()})
            for (const KeepEntry& e : *list)
                if (const Generation* g = generation(e);
                    g && g->base && e.range.first <= g->base->range.last &&
                    (e.range.last <= g->base->range.last ||
                     (e.kind == Kind::merged && !rules_.beside_a_keeper)))
                    doomed.push_back(&e);
        std::sort(doomed.begin(), doomed.end(), [](const KeepEntry* a, const KeepEntry* b) {
            return a->range.last > b->range.last;
        });
        for (auto s = c_.snapshots().rbegin(); s != c_.snapshots().rend(); ++s)
            if (const Generation* g = generation(*s);
                g && g->base && s->range.last < g->base->range.last)
                doomed.push_back(&*s);
        for (const KeepEntry* e : doomed)
            propose(*e);
    }

    void propose_covered() {
        for (const auto* list : {&c_.segments(), &c_.merged()})
            for (auto e = list->rbegin(); e != list->rend(); ++e) {
                const KeepEntry* by = covers_.lowest(*e);
                // What is covered goes together, when the last state that is lost was replaced by
                // the last of all. A snapshot inside needs a way on that begins at its own state.
                if (by && older(*by, fine_ * kAgeFactor[by->level]) &&
                    !snapshots_.within(e->generation, by->range.first, e->range.first - 1))
                    propose(*e);
            }
    }

    void propose_snapshots() {
        for (const KeepEntry& s : c_.snapshots()) {
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
                accepted_.push_back(c_.full(*proposed_[i]));
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
    std::unordered_map<std::uint32_t, Generation> generations_;
    std::uint64_t head_ = 0;
    std::vector<const KeepEntry*> proposed_;
    Removed removed_, seen_;
    std::vector<CatalogueEntry> accepted_;
};

} // namespace

std::vector<CatalogueEntry> plan_deletes(const KeepCatalogue& catalogue,
                                         const RetentionRules& rules) {
    return DeletePlanner(catalogue, rules).run();
}

bool is_restorable(const KeepCatalogue& catalogue, const std::set<std::string>& removed) {
    Removed gone;
    for (const auto* list : {&catalogue.segments(), &catalogue.merged(), &catalogue.snapshots()})
        for (const KeepEntry& e : *list)
            if (removed.contains(catalogue.key(e)))
                gone.insert(&e);
    return StateFinder(catalogue).restorable_without(gone);
}

} // namespace zl
