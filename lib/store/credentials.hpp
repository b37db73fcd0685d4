/// Who we are to S3: the credential chain, its cache and its refresh.
///
/// Order: profile named in the store url (then nothing else); environment; web identity;
/// $CREDENTIALS_DIRECTORY/aws-credentials (systemd); shared credentials and config files; container
/// endpoint; instance metadata (IMDSv2). The first source that is configured decides: if it fails,
/// the failure is reported instead of silently becoming somebody else.
#pragma once

#include "base/report.hpp"
#include "base/units.hpp"
#include "store/aws_config.hpp"
#include "store/http_client.hpp"
#include "store/open_store.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

struct Credentials {
    std::string access_key_id;
    std::string secret_access_key;
    std::string session_token; ///< empty = none
    std::optional<TimePoint> expires;
    /// For messages, never a secret: `profile "backup" in /root/.aws/credentials`.
    std::string source;
    bool same_keys(const Credentials& o) const {
        return access_key_id == o.access_key_id && secret_access_key == o.secret_access_key &&
               session_token == o.session_token;
    }
};

/// What the sources need. References outlive the cache.
struct CredentialContext {
    Environment environment;
    AwsConfig config;
    std::string profile; ///< from the store url, empty = by environment
    std::string region;  ///< of STS
    HttpClient& http;
    Log& log;
    std::stop_token stop;
    std::function<TimePoint()> clock = now_wall;
};

/// Walks the chain. Throws denied with a hint listing what was looked at when nothing is
/// configured; a source's own failure as denied, config or transient.
Credentials load_credentials(const CredentialContext& context);

/// Thread-safe cache over load_credentials().
class CredentialCache {
public:
    explicit CredentialCache(CredentialContext context) : context_(std::move(context)) {}
    /// Refreshed 5 minutes before they expire; if that fails, the old ones are used to their end,
    /// and transient is thrown after it.
    Credentials get();
    /// The store refused @p refused as expired: load again. False if nothing new was found.
    bool refresh(const Credentials& refused);

private:
    void load(TimePoint now);

    CredentialContext context_;
    std::mutex mutex_;
    std::optional<Credentials> current_;
    TimePoint next_try_{}; ///< no refresh ahead of time before
};

} // namespace zl
