#include "transfer/layer_keys.hpp"

#include "base/error.hpp"

#include <algorithm>

namespace zl {

namespace {

bool is_name_char(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

} // namespace

void check_name(std::string_view name) {
    auto bad = [&](const std::string& why) {
        return Error(
            ErrorKind::usage, "name \"" + std::string(name) + "\": " + why,
            "a name is like web1 or shop/web-1: letters, digits, . _ - and / between parts");
    };
    if (name.empty() || name.size() > 512)
        throw bad("1 to 512 bytes are possible");
    if (name == "latest")
        throw bad("latest means the newest layer of the store");
    if (name.size() >= 8 && std::all_of(name.begin(), name.end(), is_hex))
        throw bad("8 or more hex digits are a digest");
    std::size_t at = 0;
    while (at <= name.size()) {
        std::size_t slash = std::min(name.find('/', at), name.size());
        std::string_view part = name.substr(at, slash - at);
        if (part.empty())
            throw bad("a part is empty");
        if (!std::all_of(part.begin(), part.end(), is_name_char))
            throw bad("only A-Z a-z 0-9 . _ - are possible");
        if (part.front() == '.')
            throw bad("no part may start with a dot");
        if (part.size() > 200)
            throw bad("no part may be longer than 200 bytes");
        for (std::string_view reserved : {"snapshots", "wal", "refs", "metadata.json"})
            if (part == reserved)
                throw bad(std::string(reserved) + " is reserved");
        at = slash + 1;
    }
}

} // namespace zl
