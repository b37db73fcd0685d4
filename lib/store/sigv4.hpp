/// AWS Signature Version 4, header form (https://docs.aws.amazon.com/AmazonS3/latest/API/
/// sig-v4-header-based-auth.html). Pure: the clock and the keys come in, nothing is sent.
#pragma once

#include "base/units.hpp"
#include "store/uri.hpp"
#include "stream/hash.hpp"

#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zl {

/// In the order given; names in any case.
using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct SigV4Request {
    std::string method;
    std::string
        path; ///< decoded bytes with a leading slash; canonical_path() of it is what is sent
    QueryParams query;  ///< decoded
    HeaderList headers; ///< incl. host and x-amz-date; all are signed but those proxies may change
    std::string payload_hash; ///< hex SHA-256 of the body
};

/// s3: each byte encoded once, `//`, `/./` and `/../` stay, because they are part of a key.
/// normalized: what other AWS services expect.
enum class PathMode { s3, normalized };

struct SigningScope {
    std::string region;
    std::string service;
};

std::string canonical_path(std::string_view path, PathMode mode);
std::string canonical_request(const SigV4Request& request, PathMode mode);
/// @p time as it stands in x-amz-date.
std::string string_to_sign(std::string_view canonical_request, TimePoint time,
                           const SigningScope& scope);
/// `20130524T000000Z`.
std::string amz_date(TimePoint time);
Digest derive_signing_key(std::string_view secret, std::string_view date,
                          const SigningScope& scope);

/// Remembers the last signing key: it changes once a day. Thread-safe.
class SigningKeyCache {
public:
    /// @p date YYYYMMDD.
    Digest get(std::string_view secret, std::string_view date, const SigningScope& scope);

private:
    std::mutex mutex_;
    Digest made_of_; ///< hash of the inputs, so that no second copy of the secret is kept
    Digest key_;
};

/// Value of the Authorization header.
std::string authorization_header(const SigV4Request& request, PathMode mode,
                                 std::string_view access_key_id, std::string_view secret,
                                 TimePoint time, const SigningScope& scope, SigningKeyCache& cache);

} // namespace zl
