/// How long nothing of a store is deleted that might be in somebody's hands.
#pragma once

#include "base/units.hpp"

namespace zl {

/// 24 h. A test build takes ZL_TEST_GRACE instead.
Millis grace_period();

} // namespace zl
