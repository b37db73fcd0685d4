#include "store/retry.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace zl {

namespace {

constexpr Millis kBaseDelay{100};
constexpr Millis kMaxDelay{std::chrono::seconds(20)};

template <std::size_t n>
bool is_one_of(std::string_view code, const std::array<std::string_view, n>& list) {
    return std::find(list.begin(), list.end(), code) != list.end();
}

/// Temporary whatever the status says; some come inside a 200 or a 400.
bool is_temporary_code(std::string_view code) {
    static constexpr std::array<std::string_view, 18> kCodes = {
        "InternalError", "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable",
        "RequestTimeout", "RequestTimeoutException", "Throttling", "ThrottlingException",
        "RequestLimitExceeded", "BandwidthLimitExceeded", "OperationAborted",
        "ConditionalRequestConflict", "IncompleteBody", "TooManyRequests", "IDPCommunicationError",
        // The signed hash is of the bytes as read: only the way there can have changed them.
        "BadDigest", "XAmzContentSHA256Mismatch"};
    return is_one_of(code, kCodes);
}

bool is_expired_code(std::string_view code) {
    static constexpr std::array<std::string_view, 3> kCodes = {
        "ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException"};
    return is_one_of(code, kCodes);
}

bool is_region_code(std::string_view code) {
    static constexpr std::array<std::string_view, 4> kCodes = {
        "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "Redirect"};
    return is_one_of(code, kCodes);
}

bool is_config_code(std::string_view code) {
    static constexpr std::array<std::string_view, 8> kCodes = {
        "InvalidBucketName",
        "IllegalLocationConstraintException",
        "InvalidStorageClass",
        "KMS.NotFoundException",
        "KMS.DisabledException",
        "InvalidEncryptionAlgorithmError",
        "AuthorizationHeaderMalformed",
        "ServerSideEncryptionConfigurationNotFoundError"};
    return is_one_of(code, kCodes);
}

bool is_temporary_status(int status) {
    return status == 408 || status == 429 || status == 499 ||
           (status >= 500 && status != 501 && status != 505);
}

} // namespace

Verdict classify(const Outcome& o) {
    switch (o.transport) {
    case Transport::ok:
        break;
    case Transport::resolve:
    case Transport::connect:
    case Transport::stalled:
    case Transport::broken:
    case Transport::bad_reply:
        return Verdict::retry;
    case Transport::untrusted:
    case Transport::bad_url:
    case Transport::deadline:
        return Verdict::fail;
    }
    if (o.code == "RequestTimeTooSkewed" || o.code == "RequestExpired")
        return Verdict::clock;
    if (is_expired_code(o.code))
        return Verdict::refresh;
    if (is_temporary_code(o.code))
        return Verdict::retry;
    if (o.status >= 200 && o.status < 300)
        return o.code.empty() ? Verdict::ok : Verdict::fail;
    if (is_region_code(o.code) || o.status == 301 || o.status == 302 || o.status == 307 ||
        o.status == 308)
        return Verdict::region;
    if (o.code == "NotImplemented")
        return Verdict::fail;
    return is_temporary_status(o.status) ? Verdict::retry : Verdict::fail;
}

bool may_have_happened(const Outcome& o) {
    if (o.transport == Transport::resolve || o.transport == Transport::connect ||
        o.transport == Transport::untrusted || o.transport == Transport::bad_url)
        return false;
    if (o.transport != Transport::ok)
        return true;
    // The server said with a code what it refused; a bare 5xx may come from a gateway that lost
    // sight of a request that went through.
    if (o.status >= 500)
        return !o.code.starts_with("SlowDown");
    return false;
}

ErrorKind error_kind(const Outcome& o) {
    if (o.transport == Transport::untrusted || o.transport == Transport::bad_url)
        return ErrorKind::config;
    if (o.transport != Transport::ok)
        return ErrorKind::transient;
    if (o.code == "NoSuchUpload")
        return ErrorKind::gone;
    if (o.code == "ConditionalRequestConflict" || o.status == 412)
        return ErrorKind::conflict;
    if (is_temporary_code(o.code))
        return ErrorKind::transient;
    if (is_expired_code(o.code) || o.code == "InvalidToken" || o.status == 401 || o.status == 403 ||
        o.code == "AccessDenied")
        return ErrorKind::denied;
    if (o.status == 501 || o.status == 405 || o.code == "NotImplemented")
        return ErrorKind::unsupported;
    if (o.status == 404)
        return ErrorKind::not_found;
    if (is_config_code(o.code) || (o.status >= 300 && o.status < 400))
        return ErrorKind::config;
    if (is_temporary_status(o.status))
        return ErrorKind::transient;
    return ErrorKind::data;
}

std::optional<Millis> retry_delay(int attempt, Millis elapsed, Millis budget,
                                  std::optional<Millis> retry_after, double random) {
    if (elapsed >= budget)
        return std::nullopt;
    Millis left = budget - elapsed;
    Millis full = kMaxDelay;
    if (attempt < 16) // 100 ms << 16 is far beyond the cap
        full = std::min(kMaxDelay, kBaseDelay * (1 << std::max(attempt, 0)));
    Millis delay(static_cast<std::int64_t>(static_cast<double>(full.count()) * (0.5 + random / 2)));
    delay = std::min(delay, left); // one more attempt at the very end of the budget
    if (retry_after && *retry_after > delay)
        delay = *retry_after;
    return delay > left ? std::nullopt : std::optional(delay);
}

std::optional<Millis> parse_retry_after(std::string_view text, TimePoint now) {
    text = trim(text);
    unsigned seconds = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (problem == std::errc() && end == text.data() + text.size())
        return Millis(std::chrono::seconds(seconds));
    if (auto date = parse_http_date(text))
        return std::max(Millis(0), std::chrono::duration_cast<Millis>(*date - now));
    return std::nullopt;
}

} // namespace zl
