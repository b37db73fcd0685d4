/// Version of libarchive as loaded (--version).
#pragma once

#include <string>

namespace zl {

std::string libarchive_version();

} // namespace zl
