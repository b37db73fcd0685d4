#include "store/versions.hpp"

#include <curl/curl.h>

namespace zl {

std::string libcurl_version() {
    return curl_version_info(CURLVERSION_NOW)->version;
}

} // namespace zl
