#include "store/open_store.hpp"

#include <cstdlib>

namespace zl {

std::optional<std::string> process_environment(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    return value ? std::optional<std::string>(value) : std::nullopt;
}

std::unique_ptr<ObjectStore> open_store(const StoreUrl& url, const StoreOptions& options,
                                        Log& log) {
    return url.kind == StoreUrl::Kind::s3 ? open_s3_store(url, options, log)
                                          : open_local_store(url, options, log);
}

} // namespace zl
