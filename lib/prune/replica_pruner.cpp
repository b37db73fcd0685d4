#include "prune/replica_pruner.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "prune/grace.hpp"
#include "wal/replica_head.hpp"
#include "wal/replica_scan.hpp"
#include "wal/retention.hpp"

#include <algorithm>
#include <set>

namespace zl {

namespace {

using Entry = CatalogueEntry;
constexpr Millis kLongest = std::chrono::days(36500);

/// The newest first and snapshots last: what is left at any moment can be restored.
std::vector<Entry> all_of(const ReplicaObjects& objects, const std::string& generation) {
    std::vector<Entry> out;
    for (const auto* list : {&objects.segments, &objects.merged, &objects.snapshots})
        std::copy_if(list->begin(), list->end(), std::back_inserter(out),
                     [&](const Entry& e) { return e.generation == generation; });
    std::stable_sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) {
        const bool sa = a.kind == Entry::Kind::snapshot, sb = b.kind == Entry::Kind::snapshot;
        return sa != sb ? sb : a.range.last > b.range.last;
    });
    return out;
}

std::vector<Entry> before(const ReplicaObjects& objects, const ReplicaKeys& keys,
                          RetentionRules rules) {
    KeepCatalogue catalogue(keys);
    for (const auto* list : {&objects.segments, &objects.merged, &objects.snapshots}) {
        std::vector<Entry> sorted = *list;
        std::sort(sorted.begin(), sorted.end(), [](const Entry& a, const Entry& b) {
            return a.range.last != b.range.last ? a.range.last < b.range.last : a.key < b.key;
        });
        for (const Entry& e : sorted)
            catalogue.add(e);
    }
    return plan_deletes(catalogue, rules);
}

std::vector<Entry> whole_generation(const ReplicaObjects& objects, const ReplicaHead& head,
                                    const std::string& generation) {
    if (head.segment && head.segment->generation == generation)
        throw Error(ErrorKind::usage, "generation " + generation + " is the current one",
                    "only one that was left can be removed; zl-restore --list shows all");
    if (head.metadata && head.metadata->generation == generation)
        throw Error(ErrorKind::usage,
                    "generation " + generation +
                        " is the newest with a snapshot: the current one cannot be restored yet",
                    "once zl-walship has made its next snapshot, this can go");
    auto out = all_of(objects, generation);
    if (out.empty())
        throw Error(ErrorKind::not_found, "no generation " + generation,
                    "zl-restore --list shows all");
    return out;
}

} // namespace

ReplicaPlan plan_replica(ObjectStore& store, const ReplicaKeys& keys, const ReplicaScope& scope,
                         TimePoint now, Log& log) {
    const ReplicaHead head = read_replica_head(store, keys);
    const ReplicaObjects objects = scan_replica(store, keys, log);
    if (!head.exists() && objects.snapshots.empty())
        throw Error(ErrorKind::not_found, "no backup in " + store.describe(keys.prefix()),
                    "zl-ls shows what the store holds");
    ReplicaPlan plan;
    if (scope.within) {
        RetentionRules rules;
        rules.retain = std::min(*scope.within, kLongest);
        rules.fine = kLongest;
        rules.now = now;
        rules.head = head.sequence();
        rules.minimum_age = grace_period();
        rules.beside_a_keeper = true;
        rules.day = test_duration("ZL_TEST_DAY", rules.day);
        plan.deletes = before(objects, keys, rules);
    }
    if (!scope.generation.empty()) {
        std::erase_if(plan.deletes,
                      [&](const Entry& e) { return e.generation == scope.generation; });
        auto more = whole_generation(objects, head, scope.generation);
        plan.deletes.insert(plan.deletes.end(), more.begin(), more.end());
    }
    for (const auto* list : {&objects.segments, &objects.merged, &objects.snapshots})
        for (const Entry& e : *list) {
            ReplicaPlan::Sum& sum = plan.generations[e.generation];
            ++sum.keep_objects, sum.keep_bytes += e.size;
            sum.current = head.segment && head.segment->generation == e.generation;
        }
    for (const Entry& e : plan.deletes) {
        ReplicaPlan::Sum& sum = plan.generations[e.generation];
        --sum.keep_objects, sum.keep_bytes -= e.size;
        ++sum.objects, sum.bytes += e.size;
        sum.until = std::max(sum.until, e.time);
    }
    return plan;
}

void prune_replica(ObjectStore& store, const ReplicaPlan& plan, PruneTotals& totals,
                   std::stop_token stop) {
    for (const Entry& e : plan.deletes) {
        if (stop.stop_requested())
            throw Interrupted();
        store.remove(e.key);
        ++totals.objects, totals.bytes += e.size;
        crash_point("prune.db");
    }
}

} // namespace zl
