/// A catalogue made of what a store holds, for a host that does not know it.
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"
#include "wal/replica_keys.hpp"
#include "wal/ship_state.hpp"

#include <vector>

namespace zl {

/// Each list as ShipState::entries() gives it.
struct ReplicaObjects {
    std::vector<CatalogueEntry> segments, merged, snapshots;
};

/// Lists everything. Generations of segments are found by bisection (sequence numbers go on over
/// them, so each is one stretch): a few headers, however many segments. Times of segments and
/// merged ones are those of their objects, a little late; the levels of merged ones are guessed
/// from what lies within what. Objects that do not decode are left out, with a warning: they are
/// never deleted.
ReplicaObjects scan_replica(ObjectStore& store, const ReplicaKeys& keys, Log& log);

} // namespace zl
