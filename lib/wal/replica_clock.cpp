#include "wal/replica_clock.hpp"

#include <algorithm>

namespace zl {

ReplicaClock::ReplicaClock(Now wall, Elapsed boot)
    : wall_(wall ? std::move(wall) : now_wall), boot_(boot ? std::move(boot) : boot_time),
      anchor_wall_(wall_()), anchor_boot_(boot_()) {}

TimePoint ReplicaClock::now() {
    const TimePoint even = anchor_wall_ + (boot_() - anchor_boot_);
    const TimePoint wall = wall_();
    if (wall <= even)
        return even;
    anchor_wall_ = wall;
    anchor_boot_ = boot_();
    return wall;
}

TimePoint ReplicaClock::after(TimePoint last) {
    return std::max(now(), last + Millis(1));
}

} // namespace zl
