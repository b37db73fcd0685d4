#include "store/name.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <span>
#include <string>

namespace zl {

namespace {

constexpr std::size_t kLongest = 512, kLongestPart = 200, kShortestDigest = 8;

struct NameRules {
    std::span<const std::string_view> reserved;
    const char* latest; ///< why it cannot be `latest`
    const char* hint;
};

constexpr std::string_view kReserved[] = {"snapshots", "wal", "refs", "metadata.json", "merged"};

constexpr NameRules kLayer{
    std::span(kReserved).first(4), "latest means the newest layer of the store",
    "a name is like web1 or shop/web-1: letters, digits, . _ - and / between parts"};
constexpr NameRules kDatabase{
    kReserved, "latest is reserved",
    "a name is like app or shop/db-1: letters, digits, . _ - and / between parts; --name"};

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_name_char(char c) {
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '_' || c == '-';
}

/// What is wrong with one part; empty: nothing.
std::string fault_of_part(std::string_view part, const NameRules& rules) {
    if (part.empty())
        return "a part is empty";
    if (!std::all_of(part.begin(), part.end(), is_name_char))
        return "only A-Z a-z 0-9 . _ - are possible";
    if (part.front() == '.')
        return "no part may start with a dot";
    if (part.size() > kLongestPart)
        return "no part may be longer than 200 bytes";
    if (std::find(rules.reserved.begin(), rules.reserved.end(), part) != rules.reserved.end())
        return std::string(part) + " is reserved";
    return {};
}

std::string fault_of(std::string_view name, const NameRules& rules) {
    if (name.empty() || name.size() > kLongest)
        return "1 to 512 bytes are possible";
    if (name == "latest")
        return rules.latest;
    if (name.size() >= kShortestDigest && std::all_of(name.begin(), name.end(), is_hex))
        return "8 or more hex digits are a digest";
    for (std::size_t at = 0; at <= name.size();) {
        std::size_t slash = std::min(name.find('/', at), name.size());
        std::string fault = fault_of_part(name.substr(at, slash - at), rules);
        if (!fault.empty())
            return fault;
        at = slash + 1;
    }
    return {};
}

void check(std::string_view name, const NameRules& rules) {
    std::string fault = fault_of(name, rules);
    if (!fault.empty())
        throw Error(ErrorKind::usage, "name \"" + std::string(name) + "\": " + fault, rules.hint);
}

} // namespace

void check_name(std::string_view name) {
    check(name, kLayer);
}

void check_db_name(std::string_view name) {
    check(name, kDatabase);
}

bool is_layer_name(std::string_view name) {
    return fault_of(name, kLayer).empty();
}

bool is_db_name(std::string_view name) {
    return fault_of(name, kDatabase).empty();
}

} // namespace zl
