#include "stream/versions.hpp"

#include <openssl/crypto.h>
#include <zstd.h>

namespace zl {

std::string zstd_version() {
    return ZSTD_versionString();
}

std::string openssl_version() {
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}

} // namespace zl
