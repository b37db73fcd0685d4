#include "store/store_url.hpp"

#include "base/error.hpp"
#include "store/uri.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

namespace zl {

namespace {

constexpr std::array<std::string_view, 9> kQueryKeys = {
    "endpoint",       "region",        "profile",       "addressing", "sse",
    "sse_kms_key_id", "storage_class", "uniform_parts", "conditional"};

Error usage(const std::string& why, const std::string& hint) {
    return Error(ErrorKind::usage, "store url: " + why, hint);
}

/// Number of single-character changes from @p a to @p b.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[b.size()];
}

std::string_view nearest_key(std::string_view name) {
    for (std::string_view key : kQueryKeys) // half a name: `class`, `uniform`
        if (name.size() >= 4 && key.find(name) != std::string_view::npos)
            return key;
    return *std::min_element(kQueryKeys.begin(), kQueryKeys.end(),
                             [&](std::string_view a, std::string_view b) {
                                 return edit_distance(name, a) < edit_distance(name, b);
                             });
}

bool names_a_secret(std::string_view name) {
    std::string lower = ascii_lower(name);
    for (std::string_view part : {"access_key", "accesskey", "access-key", "secret", "token",
                                  "password", "passwd", "credential", "signature"})
        if (lower.find(part) != std::string::npos)
            return true;
    return false;
}

bool parse_switch(const std::string& name, const std::string& value) {
    if (value == "1" || value == "true" || value == "on" || value == "yes" || value == "auto")
        return true;
    if (value == "0" || value == "false" || value == "off" || value == "no")
        return false;
    throw usage(name + " \"" + value + "\"", "write " + name + "=1 or " + name + "=0");
}

StoreUrl::Addressing parse_addressing(const std::string& value) {
    if (value == "auto")
        return StoreUrl::Addressing::automatic;
    if (value == "path")
        return StoreUrl::Addressing::path;
    if (value == "virtual")
        return StoreUrl::Addressing::virtual_host;
    throw usage("addressing \"" + value + '"', "write addressing=auto, path or virtual");
}

void set_query(StoreUrl& url, const std::string& name, const std::string& value) {
    if (name == "addressing")
        url.addressing = parse_addressing(value);
    else if (name == "uniform_parts")
        parse_switch(name, value); // our parts are of one size in any case
    else if (name == "conditional") {
        if (value != "auto" && value != "off")
            throw usage("conditional \"" + value + '"', "write conditional=auto or off");
        url.conditional = value == "auto";
    } else if (name == "endpoint") {
        Endpoint::parse(value, "store url"); // names the mistake before any request
        url.endpoint = value;
    } else if (name == "sse") {
        if (value != "AES256" && value != "aws:kms")
            throw usage("sse \"" + value + '"', "write sse=AES256 or sse=aws:kms");
        url.sse = value;
    } else if (name == "region")
        url.region = value;
    else if (name == "profile")
        url.profile = value;
    else if (name == "sse_kms_key_id")
        url.sse_kms_key_id = value;
    else if (name == "storage_class")
        url.storage_class = value;
    else if (names_a_secret(name)) // the value is not shown
        throw usage('"' + name + "\" looks like a secret, which does not belong into a url",
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with "
                    "profile=NAME");
    else
        throw usage("unknown setting \"" + name + '"',
                    "did you mean \"" + std::string(nearest_key(name)) + "\"?");
}

void parse_query(StoreUrl& url, std::string_view query) {
    while (!query.empty()) {
        std::size_t end = query.find('&');
        std::string_view item = query.substr(0, end);
        query = end == std::string_view::npos ? std::string_view() : query.substr(end + 1);
        if (item.empty())
            continue;
        std::size_t equals = item.find('=');
        std::string name = percent_decode(item.substr(0, equals));
        std::string value =
            equals == std::string_view::npos ? "" : percent_decode(item.substr(equals + 1));
        if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
            throw usage(name + " holds a control character", "remove it");
        if (value.empty() && !names_a_secret(name))
            throw usage('"' + name + "\" has no value",
                        "write " + name + "=VALUE, or leave it out");
        set_query(url, name, value);
    }
}

StoreUrl parse_s3(std::string_view rest) {
    StoreUrl url;
    url.kind = StoreUrl::Kind::s3;
    std::size_t question = rest.find('?');
    std::string_view place = rest.substr(0, question);
    if (place.substr(0, place.find('/')).find('@') != std::string_view::npos)
        throw usage("a user name or key before \"@\" does not belong into a url",
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add ?profile=NAME");
    if (place.find('#') != std::string_view::npos)
        throw usage("\"#\" in the path", "write it as %23");
    std::size_t slash = place.find('/');
    url.bucket = percent_decode(place.substr(0, slash));
    if (url.bucket.empty())
        throw usage("no bucket in \"s3://" + std::string(place) + '"', "write s3://BUCKET[/ROOT]");
    if (url.bucket.find_first_of("/?#\\ :") != std::string::npos || url.bucket == "." ||
        url.bucket == "..")
        throw usage("bucket \"" + url.bucket + '"',
                    "a bucket is a plain name; a server goes into ?endpoint=https://HOST");
    if (slash != std::string_view::npos) {
        std::string_view root = place.substr(slash);
        while (root.starts_with('/'))
            root.remove_prefix(1);
        while (root.ends_with('/'))
            root.remove_suffix(1);
        url.root = percent_decode(root);
    }
    if (question != std::string_view::npos)
        parse_query(url, rest.substr(question + 1));
    if (!url.sse_kms_key_id.empty() && url.sse != "aws:kms")
        throw usage("sse_kms_key_id without sse=aws:kms", "add sse=aws:kms");
    return url;
}

StoreUrl parse_directory(std::string_view path, bool is_url) {
    StoreUrl url;
    url.kind = StoreUrl::Kind::directory;
    if (is_url && path.find_first_of("?#") != std::string_view::npos)
        throw usage("a directory store takes no settings after \"?\"",
                    "write \"?\" in a name as %3F");
    url.path = is_url ? percent_decode(path) : std::string(path);
    while (url.path.size() > 1 && url.path.ends_with('/'))
        url.path.pop_back();
    if (url.path.find('\0') != std::string::npos)
        throw usage("a NUL byte in the path", "remove it");
    return url;
}

} // namespace

StoreUrl StoreUrl::parse(std::string_view text) {
    if (text.starts_with("s3://"))
        return parse_s3(text.substr(5));
    if (text.starts_with("file://")) {
        std::string_view path = text.substr(7);
        if (path.starts_with("localhost/"))
            path.remove_prefix(9);
        if (!path.starts_with('/'))
            throw usage('"' + std::string(text) + "\" is not an absolute path",
                        "write file:///ABSOLUTE/DIR");
        return parse_directory(path, true);
    }
    if (text.starts_with('/'))
        return parse_directory(text, false);
    if (text.empty())
        throw usage("empty", "write s3://BUCKET[/ROOT] or /ABSOLUTE/DIR");
    std::size_t scheme = text.find("://");
    if (scheme != std::string_view::npos) {
        // Only the scheme is shown: the rest may hold a password.
        std::string name(text.substr(0, scheme));
        throw usage("scheme \"" + name + "\", expected s3 or file",
                    name == "http" || name == "https"
                        ? "write s3://BUCKET?endpoint=" + name + "://HOST"
                        : "write s3://BUCKET[/ROOT] or file:///ABSOLUTE/DIR");
    }
    throw usage('"' + std::string(text) + "\" is a relative path",
                "write s3://BUCKET[/ROOT] or an absolute directory");
}

} // namespace zl
