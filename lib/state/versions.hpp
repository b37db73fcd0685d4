/// Version of SQLite as loaded (--version).
#pragma once

#include <string>

namespace zl {

std::string sqlite_version();

} // namespace zl
