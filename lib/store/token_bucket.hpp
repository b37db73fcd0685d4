/// A rate limit shared by many transfers. Not thread-safe: the loop thread's.
#pragma once

#include "base/units.hpp"

#include <chrono>
#include <cstdint>

namespace zl {

class TokenBucket {
public:
    using Clock = std::chrono::steady_clock;
    /// @p rate bytes per second, 0 = unlimited.
    explicit TokenBucket(std::uint64_t rate, Clock::time_point now = Clock::now())
        : rate_(static_cast<double>(rate)), last_(now) {}

    bool limited() const { return rate_ > 0; }
    /// How many of @p wanted bytes may move now: 0 = wait.
    std::size_t grant(std::size_t wanted, Clock::time_point now = Clock::now());
    /// More than granted makes a debt that later bytes pay: a received chunk cannot be split.
    void spend(std::size_t bytes) { tokens_ -= static_cast<double>(bytes); }
    /// Until grant() is positive again; 5 to 100 ms, because more tokens at once cost less work.
    Millis wait(Clock::time_point now = Clock::now());

private:
    void refill(Clock::time_point now);
    double rate_;
    double tokens_ = 0;
    Clock::time_point last_;
};

} // namespace zl
