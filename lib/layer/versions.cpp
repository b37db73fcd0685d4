#include "layer/versions.hpp"

#include <archive.h>

namespace zl {

std::string libarchive_version() {
    std::string text = archive_version_string(); // "libarchive 3.6.2"
    return text.substr(text.find_last_of(' ') + 1);
}

} // namespace zl
