/// Reading pax extended headers (POSIX pax, "pax Extended Header") and the numbers in tar headers.
/// The writing side is pax_records.hpp. Everything malformed is Error{data}: a reader that skips
/// what it does not understand sees another archive than the next one (CVE-2025-62518).
#pragma once

#include "stream/stream.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

struct PaxRecord {
    std::string_view key; ///< not empty, no '='
    std::string_view value;
};

/// All records of an extended header; they point into @p text. A key twice is an error.
std::vector<PaxRecord> parse_pax_records(std::string_view text);

/// Digits only, at most @p max; @p what goes into the message.
std::uint64_t parse_pax_number(std::string_view text, std::uint64_t max, std::string_view what);

struct PaxTime {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0; ///< forward: -1.5 is {-2, 500000000}
};
/// `[-]digits[.digits]`; digits after the ninth are cut (towards the past).
PaxTime parse_pax_time(std::string_view text);

/// A numeric header field: octal digits, possibly after blanks, ended by blank or NUL, or base-256
/// (first bit set; GNU). Negative numbers only exist in base-256. An empty field is 0.
std::int64_t parse_tar_number(std::string_view field, std::string_view what);

} // namespace zl
