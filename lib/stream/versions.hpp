/// Versions of the libraries that this layer alone touches, as loaded (--version).
#pragma once

#include <string>

namespace zl {

std::string zstd_version();
std::string openssl_version();

} // namespace zl
