/// Pax extended header records (POSIX pax, "pax Extended Header"): `LEN KEY=VALUE\n`.
///
/// Xattrs are `SCHILY.xattr.NAME` with the name and the value as raw bytes. A keyword ends at the
/// first '=', so a '=' in NAME is written %3D, and a '%' that stands before "3D" or "25" is written
/// %25; every other byte stays as it is. That is what GNU tar decodes (it writes %25 for every '%';
/// the reader is the same), and Go's archive/tar, which decodes nothing, gets all names right that
/// hold neither a '=' nor one of these two sequences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace zl {

inline constexpr std::string_view kXattrKeyword = "SCHILY.xattr.";

/// Appends `LEN KEY=VALUE\n`. @p key holds no '='; @p value may hold anything, NUL and LF too.
void append_pax_record(std::string& out, std::string_view key, std::string_view value);

std::string encode_xattr_name(std::string_view name);
std::string decode_xattr_name(std::string_view encoded);

/// Seconds as an exact decimal, trailing zeros trimmed: {-2, 500000000} -> `-1.5`.
/// @p nanoseconds 0..999999999 counts forward, as in struct timespec.
std::string format_pax_time(std::int64_t seconds, std::uint32_t nanoseconds);

} // namespace zl
