/// Numbers as people write them: sizes, durations, rates, times.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace zl {

using Millis = std::chrono::milliseconds;
/// Wall clock with the precision that timestamps in keys have.
using TimePoint = std::chrono::sys_time<std::chrono::milliseconds>;

/// `64MiB`, `10G` (1024-based: K M G T P, with or without iB), `5MB` (1000-based), `123` bytes.
/// Throws usage naming the text for anything else, incl. overflow and negative numbers.
std::uint64_t parse_size(std::string_view text);
/// `500ms`, `30s`, `10m`, `1.5h`, `7d`; a bare number is an error with a hint.
Millis parse_duration(std::string_view text);
/// RFC 3339 with a zone: `2026-11-22T06:00:00Z`, `2026-11-22T06:00:00.5+01:00`; also the key form
/// `20261122T060000.000Z` and ZLayer's `20261122_060000`. Throws usage; a time without zone is
/// refused with a hint.
TimePoint parse_time(std::string_view text);
/// Like parse_time, for the timestamps in keys only; nullopt if it is none.
std::optional<TimePoint> parse_key_time(std::string_view text);

/// `20261122T060000.123Z`, UTC: sorts as text.
std::string format_key_time(TimePoint t);
/// `2026-11-22T06:00:00.123Z`.
std::string format_rfc3339(TimePoint t);
/// RFC 9110 date: `Sun, 22 Nov 2026 06:00:00 GMT`; nullopt if @p text is none.
std::optional<TimePoint> parse_http_date(std::string_view text);

/// `12.3 MiB`, `512 B`.
std::string format_size(std::uint64_t bytes);
/// `1m05s`, `3.2s`, `2h10m`.
std::string format_duration(Millis d);

TimePoint now_wall();
/// Since the machine was started, its sleep included; nobody sets this clock (CLOCK_BOOTTIME).
Millis boot_time();

} // namespace zl
