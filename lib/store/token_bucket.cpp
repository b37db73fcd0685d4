#include "store/token_bucket.hpp"

#include <algorithm>

namespace zl {

std::size_t TokenBucket::grant(std::size_t wanted, Clock::time_point now) {
    if (!limited())
        return wanted;
    refill(now);
    return tokens_ < 1 ? 0 : std::min(wanted, static_cast<std::size_t>(tokens_));
}

Millis TokenBucket::wait(Clock::time_point now) {
    refill(now);
    if (!limited() || tokens_ >= 1)
        return Millis(0);
    double milliseconds = (1 - tokens_) / rate_ * 1000;
    return Millis(std::clamp<std::int64_t>(static_cast<std::int64_t>(milliseconds) + 1, 5, 100));
}

void TokenBucket::refill(Clock::time_point now) {
    double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    // At most a tenth of a second of burst: short pauses are caught up, idle time is not.
    tokens_ = std::min(tokens_ + seconds * rate_, std::max(rate_ / 10, 1.0));
}

} // namespace zl
