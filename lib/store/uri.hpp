/// Percent encoding as S3 wants it, query strings and endpoints. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zl {

/// Every byte but `A-Za-z0-9-._~` becomes %XX in upper case; `/` stays if @p keep_slash.
std::string uri_encode(std::string_view text, bool keep_slash);
/// A `%` that is not followed by two hex digits stays as it is. @p plus_is_space: `+` is a space,
/// as in forms and in S3's `encoding-type=url`.
std::string percent_decode(std::string_view text, bool plus_is_space = false);

/// Decoded name and value pairs; a sub-resource such as `uploads` has an empty value.
using QueryParams = std::vector<std::pair<std::string, std::string>>;
/// `name=value&...`, encoded, sorted by encoded name, then encoded value. What is signed and what
/// is sent are this same text.
std::string canonical_query(const QueryParams& params);

/// `http[s]://HOST[:PORT][/PATH]`.
struct Endpoint {
    std::string scheme;
    std::string authority; ///< lower case; `host[:port]` without a default port, as in `Host:`
    std::string path;      ///< decoded, "" or with a leading and no trailing slash

    /// Throws config naming @p origin (`AWS_ENDPOINT_URL`, ...) for anything else.
    static Endpoint parse(std::string_view url, std::string_view origin);
    /// Authority without the port; IPv6 in its brackets.
    std::string host() const;
    std::string url() const { return scheme + "://" + authority; }
    bool operator==(const Endpoint&) const = default;
};

/// Whether @p host is @p domain or ends in `.domain`.
bool host_within(std::string_view host, std::string_view domain);
/// Lower case for ASCII, nothing else: host names, header names.
std::string ascii_lower(std::string_view text);
/// Without blanks at both ends.
std::string_view trim(std::string_view text);

} // namespace zl
