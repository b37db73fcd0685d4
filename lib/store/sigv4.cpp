#include "store/sigv4.hpp"

#include "base/file.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace zl {

namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string collapse_blanks(std::string_view text) {
    std::string out;
    for (char c : trim(text)) {
        bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
        if (!blank)
            out += c;
        else if (out.back() != ' ') // not empty: trim() left no blank in front
            out += ' ';
    }
    return out;
}

/// Proxies and HTTP libraries change or add these after signing.
bool is_unsigned_header(std::string_view name) {
    static constexpr std::array<std::string_view, 8> kNames = {
        "authorization",   "user-agent",        "expect",          "connection",
        "accept-encoding", "transfer-encoding", "x-amzn-trace-id", "accept"};
    return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

/// Lower-case name -> values joined by commas, sorted by name.
std::map<std::string, std::string> canonical_headers(const HeaderList& headers) {
    std::map<std::string, std::string> out;
    for (const auto& [name, value] : headers) {
        std::string lower = ascii_lower(name);
        if (is_unsigned_header(lower))
            continue;
        auto [it, fresh] = out.try_emplace(lower, collapse_blanks(value));
        if (!fresh)
            it->second += ',' + collapse_blanks(value);
    }
    return out;
}

std::string signed_names(const HeaderList& headers) {
    std::string out;
    for (const auto& [name, value] : canonical_headers(headers))
        out += (out.empty() ? "" : ";") + name;
    return out;
}

/// RFC 3986 5.2.4 without empty segments.
std::string remove_dot_segments(std::string_view path) {
    std::vector<std::string_view> kept;
    bool ends_in_slash = path.empty();
    for (std::size_t at = 0; at < path.size();) {
        std::size_t end = std::min(path.find('/', at), path.size());
        std::string_view segment = path.substr(at, end - at);
        ends_in_slash = end < path.size() || segment == "." || segment == "..";
        if (segment == "..") {
            if (!kept.empty())
                kept.pop_back();
        } else if (!segment.empty() && segment != ".") {
            kept.push_back(segment);
        }
        at = end + 1;
    }
    std::string out;
    for (std::string_view segment : kept)
        out += '/' + std::string(segment);
    if (out.empty() || ends_in_slash)
        out += '/';
    return out;
}

std::string scope_text(std::string_view date, const SigningScope& scope) {
    return std::string(date) + '/' + scope.region + '/' + scope.service + "/aws4_request";
}

} // namespace

std::string canonical_path(std::string_view path, PathMode mode) {
    if (mode == PathMode::normalized)
        return uri_encode(remove_dot_segments(path), true);
    return path.empty() ? "/" : uri_encode(path, true);
}

std::string canonical_request(const SigV4Request& request, PathMode mode) {
    std::string out = request.method + '\n' + canonical_path(request.path, mode) + '\n' +
                      canonical_query(request.query) + '\n';
    for (const auto& [name, value] : canonical_headers(request.headers))
        out += name + ':' + value + '\n';
    return out + '\n' + signed_names(request.headers) + '\n' + request.payload_hash;
}

std::string amz_date(TimePoint time) {
    // 20130524T000000.000Z without the fraction.
    std::string text = format_key_time(time);
    return text.substr(0, 15) + 'Z';
}

std::string string_to_sign(std::string_view canonical_request, TimePoint time,
                           const SigningScope& scope) {
    std::string date = amz_date(time);
    return std::string(kAlgorithm) + '\n' + date + '\n' + scope_text(date.substr(0, 8), scope) +
           '\n' + sha256(as_bytes(canonical_request)).hex();
}

Digest derive_signing_key(std::string_view secret, std::string_view date,
                          const SigningScope& scope) {
    std::string start = "AWS4" + std::string(secret);
    Digest key = hmac_sha256(as_bytes(start), as_bytes(date));
    key = hmac_sha256(key.bytes, as_bytes(scope.region));
    key = hmac_sha256(key.bytes, as_bytes(scope.service));
    return hmac_sha256(key.bytes, as_bytes("aws4_request"));
}

Digest SigningKeyCache::get(std::string_view secret, std::string_view date,
                            const SigningScope& scope) {
    std::string inputs = std::string(secret) + '\n' + scope_text(date, scope);
    Digest made_of = sha256(as_bytes(inputs));
    std::lock_guard lock(mutex_);
    if (made_of != made_of_) {
        key_ = derive_signing_key(secret, date, scope);
        made_of_ = made_of;
    }
    return key_;
}

std::string authorization_header(const SigV4Request& request, PathMode mode,
                                 std::string_view access_key_id, std::string_view secret,
                                 TimePoint time, const SigningScope& scope,
                                 SigningKeyCache& cache) {
    std::string date = amz_date(time).substr(0, 8);
    std::string text = string_to_sign(canonical_request(request, mode), time, scope);
    Digest key = cache.get(secret, date, scope);
    return std::string(kAlgorithm) + " Credential=" + std::string(access_key_id) + '/' +
           scope_text(date, scope) + ", SignedHeaders=" + signed_names(request.headers) +
           ", Signature=" + hmac_sha256(key.bytes, as_bytes(text)).hex();
}

} // namespace zl
