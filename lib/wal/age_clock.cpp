#include "wal/age_clock.hpp"

namespace zl {

namespace {

constexpr const char* kNote = "clock";
constexpr Millis kStep = std::chrono::hours(1), kBelieveAfter = std::chrono::hours(1);

} // namespace

AgeClock::AgeClock(ShipState& state, Log& log, ReplicaClock::Now wall, ReplicaClock::Elapsed boot)
    : state_(state), log_(log), wall_(wall ? std::move(wall) : now_wall),
      boot_(boot ? std::move(boot) : boot_time) {
    if (auto last = state_.note(kNote)) {
        believed_ = parse_time(*last);
        believed_at_ = boot_();
    }
}

std::optional<TimePoint> AgeClock::now(std::optional<TimePoint> newest) {
    const TimePoint wall = wall_();
    const Millis boot = boot_();
    if (!believed_) {
        believed_ = newest.value_or(wall);
        believed_at_ = boot;
    }
    const TimePoint expected = *believed_ + (boot - believed_at_);
    if (wall > expected + kStep) {
        if (!doubted_since_) {
            doubted_since_ = boot;
            log_.warn("the clock is " +
                      format_duration(std::chrono::duration_cast<Millis>(wall - expected)) +
                      " ahead of where it was: nothing is deleted by age before it has been so for " +
                      format_duration(kBelieveAfter));
        }
        if (boot - *doubted_since_ < kBelieveAfter)
            return std::nullopt;
    }
    doubted_since_.reset();
    believed_ = wall;
    believed_at_ = boot;
    state_.set_note(kNote, format_rfc3339(wall));
    return wall;
}

} // namespace zl
