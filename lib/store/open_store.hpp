/// Factory of the stores; the only place that knows both backends.
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"
#include "store/store_url.hpp"

#include <functional>
#include <memory>
#include <stop_token>

namespace zl {

/// Environment look-up, so that tests need no setenv(): nullopt = not set.
using Environment = std::function<std::optional<std::string>(const std::string&)>;
/// The process environment.
std::optional<std::string> process_environment(const std::string& name);

struct StoreOptions {
    /// How long one operation keeps retrying transient failures.
    Millis retry_for{std::chrono::minutes(10)};
    /// Whole run; zero = no limit. A connection that moves less than 1 KiB/s for 30 s is broken off
    /// in any case.
    Millis timeout{0};
    /// Connect timeout of one attempt.
    Millis connect_timeout{std::chrono::seconds(10)};
    /// Bytes per second, both directions together; 0 = unlimited.
    std::uint64_t bwlimit = 0;
    /// Connections kept open at most.
    int connections = 16;
    /// Entries per page of a listing (objects, parts, uploads); 0 = as the store likes. For tests.
    int page_size = 0;
    Environment environment = process_environment;
    std::stop_token stop;
};

/// @p log outlives the store.
std::unique_ptr<ObjectStore> open_store(const StoreUrl& url, const StoreOptions& options,
                                        Log& log);

/// The backends. The directory is created on the first write.
std::unique_ptr<ObjectStore> open_local_store(const StoreUrl& url, const StoreOptions& options,
                                              Log& log);
std::unique_ptr<ObjectStore> open_s3_store(const StoreUrl& url, const StoreOptions& options,
                                           Log& log);

} // namespace zl
