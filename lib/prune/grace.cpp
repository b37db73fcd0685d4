#include "prune/grace.hpp"

#include "base/crash_point.hpp"

namespace zl {

Millis grace_period() {
    return test_duration("ZL_TEST_GRACE", std::chrono::hours(24));
}

} // namespace zl
