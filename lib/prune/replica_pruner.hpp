/// What a prune does to the replica of a database.
///
/// `within D` deletes what no restore point of the last D needs: of each generation, what ends at
/// or before its newest snapshot that is older than D and the last of its day (UTC). That is a
/// subset of what plan_deletes() finds, chosen so that the shipper's own keeper may delete at the
/// same time: it never deletes that snapshot for being one of many, and never what leads on from
/// it (RetentionRules::beside_a_keeper says why). Nothing younger than the grace period goes, never
/// the newest snapshot of a generation and what continues it.
///
/// A generation that was left goes whole, by its name: a restore never crosses from one generation
/// into another (each begins with a snapshot of its own), so no other needs it. The current one
/// (that of the newest segment) never goes, nor the one that metadata.json names: until a new
/// generation has its first snapshot, that is the only one that can be restored.
///
/// Objects are deleted one after the other, in an order that may stop anywhere: what is left can be
/// restored as before. metadata.json belongs to the shipper and stays as it is: it may name
/// generations that are gone. A keeper that misses what was deleted under it drops it from its
/// catalogue.
#pragma once

#include "base/report.hpp"
#include "prune/layer_pruner.hpp"
#include "wal/ship_state.hpp"

#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

struct ReplicaScope {
    std::optional<Millis> within;
    std::string generation; ///< empty: none
};

struct ReplicaPlan {
    std::vector<CatalogueEntry> deletes; ///< in order
    struct Sum {
        std::uint64_t keep_objects = 0, keep_bytes = 0;
        std::uint64_t objects = 0, bytes = 0; ///< that go
        TimePoint until{};                    ///< the newest of those
        bool current = false;
    };
    std::map<std::string, Sum> generations;
};

/// Throws not_found: no replica, or no such generation; usage: the current generation; data: a
/// replica of another program. @p now: by the store's clock.
ReplicaPlan plan_replica(ObjectStore& store, const ReplicaKeys& keys, const ReplicaScope& scope,
                         TimePoint now, Log& log);

void prune_replica(ObjectStore& store, const ReplicaPlan& plan, PruneTotals& totals,
                   std::stop_token stop);

} // namespace zl
