/// Names that no other process takes, on this host or another.
#pragma once

#include <cstddef>
#include <string>

namespace zl {

/// @p digits lower-case hex digits, at most 64, of the kernel's random numbers. Throws io.
std::string random_hex(std::size_t digits);

} // namespace zl
