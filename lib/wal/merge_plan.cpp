#include "wal/merge_plan.hpp"

#include <algorithm>
#include <chrono>

namespace zl {

namespace {

using std::chrono::hours;
using std::chrono::minutes;

constexpr Millis kWindow[] = {Millis(0), minutes(5), hours(1), hours(24)};
constexpr std::size_t kMostTogether[] = {0, 64, 16, 16};

class MergePlanner {
public:
    MergePlanner(const KeepCatalogue& c, std::uint64_t max_bytes)
        : catalogue_(c), snapshots_(c.snapshots()), max_bytes_(max_bytes) {
        Covers covers(c.merged());
        for (const auto* list : {&c.segments(), &c.merged()})
            for (const KeepEntry& e : *list)
                if (!covers.lowest(e))
                    items_.push_back({&e, true});
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
        const KeepEntry* entry;
        bool settled; ///< no lower level will merge it any more
    };
    enum class Next { joins, ends_run, unknown };

    /// Can be a source at @p level.
    static bool fits(const Item& i, int level) { return !i.entry->alone && i.entry->level < level; }

    /// What the item after the run [begin, end) does to it.
    Next look(std::size_t begin, std::size_t end, std::uint64_t bytes, int level) const {
        const KeepEntry& first = *items_[begin].entry;
        const KeepEntry& last = *items_[end - 1].entry;
        if (end - begin == kMostTogether[level] ||
            snapshots_.within(last.generation, last.range.last, last.range.last))
            return Next::ends_run;
        if (end == items_.size())
            return Next::unknown;
        const Item& next = items_[end];
        const KeepEntry& e = *next.entry;
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
                merge.sources.push_back(catalogue_.full(*items_[i].entry));
            plan_.push_back(std::move(merge));
        }
        return end;
    }

    const KeepCatalogue& catalogue_;
    SnapshotStates snapshots_;
    std::uint64_t max_bytes_;
    std::vector<Item> items_; ///< what no merged object covers
    std::vector<PlannedMerge> plan_;
};

} // namespace

std::vector<PlannedMerge> plan_merges(const KeepCatalogue& catalogue, std::uint64_t max_bytes) {
    return MergePlanner(catalogue, max_bytes).run();
}

} // namespace zl
