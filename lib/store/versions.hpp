/// Version of libcurl as loaded (--version).
#pragma once

#include <string>

namespace zl {

std::string libcurl_version();

} // namespace zl
