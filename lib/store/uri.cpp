#include "store/uri.hpp"

#include "base/error.hpp"

#include <algorithm>

namespace zl {

namespace {

bool is_unreserved(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/// HOST[:PORT], so that nobody can read another host in it than Endpoint::host() does.
bool is_authority(std::string_view text) {
    const bool ipv6 = text.starts_with('[');
    const std::size_t end = ipv6 ? text.find(']') : text.find(':');
    if (ipv6 && end == std::string_view::npos)
        return false;
    const std::string_view host = ipv6 ? text.substr(1, end - 1) : text.substr(0, end);
    std::string_view port = text.substr(std::min(ipv6 ? end + 1 : end, text.size()));
    if (host.empty() || !std::all_of(host.begin(), host.end(), [&](char c) {
            return is_unreserved(c) || (ipv6 && c == ':');
        }))
        return false;
    return port.empty() || (port.starts_with(':') &&
                            port.find_first_not_of("0123456789", 1) == std::string_view::npos);
}

} // namespace

std::string uri_encode(std::string_view text, bool keep_slash) {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    std::string out;
    out.reserve(text.size() + text.size() / 4);
    for (char c : text) {
        if (is_unreserved(c) || (keep_slash && c == '/')) {
            out += c;
            continue;
        }
        auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

std::string percent_decode(std::string_view text, bool plus_is_space) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
            hex_value(text[i + 2]) >= 0) {
            out += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
            i += 2;
        } else {
            out += plus_is_space && text[i] == '+' ? ' ' : text[i];
        }
    }
    return out;
}

std::string canonical_query(const QueryParams& params) {
    QueryParams encoded;
    encoded.reserve(params.size());
    for (const auto& [name, value] : params)
        encoded.emplace_back(uri_encode(name, false), uri_encode(value, false));
    std::sort(encoded.begin(), encoded.end());
    std::string out;
    for (const auto& [name, value] : encoded) {
        if (!out.empty())
            out += '&';
        out += name + '=' + value;
    }
    return out;
}

Endpoint Endpoint::parse(std::string_view url, std::string_view origin) {
    auto fail = [&](const std::string& why) {
        return Error(ErrorKind::config, std::string(origin) + ": endpoint " + why,
                     "write it as https://HOST[:PORT]");
    };
    Endpoint out;
    std::size_t sep = url.find("://");
    if (sep == std::string_view::npos)
        throw fail('"' + std::string(url) + "\" has no scheme");
    out.scheme = ascii_lower(url.substr(0, sep));
    if (out.scheme != "http" && out.scheme != "https")
        throw fail("scheme \"" + out.scheme + "\", expected http or https");
    std::string_view rest = url.substr(sep + 3);
    if (rest.find_first_of("?#") != std::string_view::npos)
        throw fail("may not have a query or fragment");
    std::size_t slash = rest.find('/');
    out.authority = ascii_lower(rest.substr(0, slash));
    // Never echo user information: it may hold a password.
    if (out.authority.find('@') != std::string::npos)
        throw fail("may not hold a user name or password");
    if (!is_authority(out.authority))
        throw fail('"' + std::string(url) + "\" has no valid host");
    std::string_view default_port = out.scheme == "http" ? ":80" : ":443";
    if (out.authority.ends_with(default_port))
        out.authority.resize(out.authority.size() - default_port.size());
    if (slash != std::string_view::npos)
        out.path = percent_decode(rest.substr(slash));
    while (out.path.ends_with('/'))
        out.path.pop_back();
    return out;
}

std::string Endpoint::host() const {
    std::size_t colon = authority.rfind(':');
    std::size_t bracket = authority.rfind(']');
    if (colon == std::string::npos || (bracket != std::string::npos && colon < bracket))
        return authority;
    return authority.substr(0, colon);
}

bool host_within(std::string_view host, std::string_view domain) {
    return host == domain || (host.size() > domain.size() && host.ends_with(domain) &&
                              host[host.size() - domain.size() - 1] == '.');
}

std::string ascii_lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z')
            c = static_cast<char>(c - 'A' + 'a');
    return out;
}

std::string_view trim(std::string_view text) {
    static constexpr std::string_view kBlank = " \t\r\n";
    std::size_t first = text.find_first_not_of(kBlank);
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

} // namespace zl
