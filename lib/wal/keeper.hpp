/// Merging and retention of a replica (helper F writes this; the lead only needed the interface).
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"
#include "wal/ship_state.hpp"

#include <functional>
#include <optional>
#include <stop_token>

namespace zl {

class ReplicaKeeper {
public:
    struct Options {
        std::optional<Millis> retain;
        Millis fine{std::chrono::hours(24)};
        std::function<TimePoint()> clock;
    };
    ReplicaKeeper(ObjectStore& store, const ReplicaKeys& keys, ShipState& state, Options options,
                  Log& log);
    void bootstrap();
    bool step(std::stop_token stop);
};

} // namespace zl
