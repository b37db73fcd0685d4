#include "state/versions.hpp"

#include <sqlite3.h>

namespace zl {

std::string sqlite_version() {
    return sqlite3_libversion();
}

} // namespace zl
