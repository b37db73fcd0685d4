/// The time for deleting by age. A wall clock that goes wrong, for seconds even, must not delete a
/// history: a machine that wakes up with a wrong date, a time server that errs.
#pragma once

#include "base/report.hpp"
#include "wal/replica_clock.hpp"
#include "wal/ship_state.hpp"

#include <optional>

namespace zl {

/// Keeps what it last believed as the note `clock` in the state, for the next run. One thread.
class AgeClock {
public:
    /// @p wall and @p boot: defaults as in ReplicaClock.
    AgeClock(ShipState& state, Log& log, ReplicaClock::Now wall = {}, ReplicaClock::Elapsed boot = {});

    /// The wall clock; nullopt: it went forward by more than an hour beyond the time that passed
    /// (since the last run, of which that is not known: beyond none), and not an hour ago. Without
    /// a run before, @p newest in the replica stands for it.
    std::optional<TimePoint> now(std::optional<TimePoint> newest);

private:
    ShipState& state_;
    Log& log_;
    ReplicaClock::Now wall_;
    ReplicaClock::Elapsed boot_;
    std::optional<TimePoint> believed_;
    Millis believed_at_{}; ///< boot time
    std::optional<Millis> doubted_since_;
};

} // namespace zl
