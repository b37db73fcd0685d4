/// The time that segments carry: wall time for people, but strictly growing and even while the wall
/// clock is stepped back under us.
#pragma once

#include "base/units.hpp"

#include <functional>

namespace zl {

/// Thread: one at a time.
class ReplicaClock {
public:
    using Now = std::function<TimePoint()>;
    using Elapsed = std::function<Millis()>; ///< goes on while the machine sleeps, never steps
    /// Defaults: the wall clock and CLOCK_BOOTTIME.
    explicit ReplicaClock(Now wall = {}, Elapsed boot = {});
    /// Never earlier than one already given or @p last. A step forward is followed; after a step
    /// back time goes on evenly from where it was until the process ends.
    TimePoint now();
    /// now(), at least 1 ms after @p last.
    TimePoint after(TimePoint last);

private:
    Now wall_;
    Elapsed boot_;
    TimePoint anchor_wall_;
    Millis anchor_boot_;
};

} // namespace zl
