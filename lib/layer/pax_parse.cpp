#include "layer/pax_parse.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <limits>

namespace zl {

namespace {

[[noreturn]] void malformed(std::string_view what) {
    throw Error(ErrorKind::data, "malformed tar: " + std::string(what));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::int64_t parse_base256(std::string_view field, std::string_view what) {
    const bool negative = (static_cast<unsigned char>(field[0]) & 0x40) != 0;
    // Two's complement over all bits of the field but the first.
    std::uint64_t value = negative ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < field.size(); ++i) {
        auto byte = static_cast<unsigned char>(field[i]);
        if (i == 0)
            byte = static_cast<unsigned char>(negative ? byte | 0x80 : byte & 0x7f);
        const std::uint64_t sign_byte = negative ? 0xff : 0;
        if (field.size() - i > 8 && byte != sign_byte)
            malformed(std::string(what) + " does not fit 64 bits");
        value = value << 8 | byte;
    }
    const auto result = static_cast<std::int64_t>(value);
    if ((result < 0) != negative)
        malformed(std::string(what) + " does not fit 63 bits");
    return result;
}

} // namespace

std::vector<PaxRecord> parse_pax_records(std::string_view text) {
    std::vector<PaxRecord> records;
    while (!text.empty()) {
        std::size_t digits = 0;
        std::size_t length = 0;
        while (digits < text.size() && is_digit(text[digits]) && digits < 9)
            length = length * 10 + static_cast<std::size_t>(text[digits++] - '0');
        if (digits == 0 || text[0] == '0' || digits >= text.size() || text[digits] != ' ')
            malformed("pax record without a length");
        if (length > text.size() || length < digits + 4)
            malformed("pax record of " + std::to_string(length) + " bytes where " +
                      std::to_string(text.size()) + " are left");
        if (text[length - 1] != '\n')
            malformed("pax record that does not end in a line feed");
        const std::string_view body = text.substr(digits + 1, length - digits - 2);
        const auto equals = body.find('=');
        if (equals == std::string_view::npos || equals == 0)
            malformed("pax record without a keyword");
        records.push_back({body.substr(0, equals), body.substr(equals + 1)});
        text.remove_prefix(length);
    }
    std::vector<std::string_view> keys;
    keys.reserve(records.size());
    for (const auto& r : records)
        keys.push_back(r.key);
    std::sort(keys.begin(), keys.end());
    if (std::adjacent_find(keys.begin(), keys.end()) != keys.end())
        malformed("pax keyword twice in one header");
    return records;
}

std::uint64_t parse_pax_number(std::string_view text, std::uint64_t max, std::string_view what) {
    std::uint64_t value = 0;
    if (text.empty())
        malformed(std::string(what) + " is empty");
    for (char c : text) {
        if (!is_digit(c))
            malformed(std::string(what) + " is not a number");
        const auto digit = static_cast<std::uint64_t>(c - '0');
        if (digit > max || value > (max - digit) / 10)
            malformed(std::string(what) + " above " + std::to_string(max));
        value = value * 10 + digit;
    }
    return value;
}

PaxTime parse_pax_time(std::string_view text) {
    const bool negative = text.starts_with('-');
    if (negative)
        text.remove_prefix(1);
    const auto dot = text.find('.');
    const std::uint64_t whole = parse_pax_number(
        text.substr(0, dot), std::uint64_t{1} << 62, "mtime");
    std::uint32_t ns = 0;
    if (dot != std::string_view::npos) {
        const std::string_view fraction = text.substr(dot + 1);
        for (std::size_t i = 0; i < std::max<std::size_t>(fraction.size(), 9); ++i) {
            if (i < fraction.size() && !is_digit(fraction[i]))
                malformed("mtime is not a number");
            if (i < 9)
                ns = ns * 10 + static_cast<std::uint32_t>(
                                   i < fraction.size() ? fraction[i] - '0' : 0);
        }
    }
    PaxTime time{static_cast<std::int64_t>(whole), ns};
    if (negative) {
        time.seconds = -time.seconds;
        if (ns != 0) {
            --time.seconds;
            time.nanoseconds = 1'000'000'000 - ns;
        }
    }
    return time;
}

std::int64_t parse_tar_number(std::string_view field, std::string_view what) {
    if (field.empty())
        return 0;
    if ((static_cast<unsigned char>(field[0]) & 0x80) != 0)
        return parse_base256(field, what);
    std::size_t i = 0;
    while (i < field.size() && field[i] == ' ')
        ++i;
    std::uint64_t value = 0;
    for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) {
        if (value >> 60 != 0)
            malformed(std::string(what) + " does not fit 63 bits");
        value = value << 3 | static_cast<std::uint64_t>(field[i] - '0');
    }
    for (; i < field.size(); ++i)
        if (field[i] != ' ' && field[i] != '\0')
            malformed(std::string(what) + " is not an octal number");
    return static_cast<std::int64_t>(value);
}

} // namespace zl
