#include "base/error.hpp"
#include "base/units.hpp"

#include <doctest/doctest.h>

using namespace zl;
using namespace std::chrono_literals;

namespace {

/// Message and hint of the usage error that @p fn throws; empty if it throws none.
template <typename Fn>
std::string usage_error(Fn fn) {
    try {
        fn();
    } catch (const Error& e) {
        CHECK(e.kind() == ErrorKind::usage);
        return e.message() + "|" + e.hint();
    }
    return {};
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_SUITE("base/units") {
    TEST_CASE("sizes with and without unit") {
        CHECK(parse_size("0") == 0);
        CHECK(parse_size("123") == 123);
        CHECK(parse_size("512B") == 512);
        CHECK(parse_size("64MiB") == 64ull << 20);
        CHECK(parse_size("64M") == 64ull << 20);
        CHECK(parse_size("64m") == 64ull << 20);
        CHECK(parse_size("4k") == 4096);
        CHECK(parse_size("10G") == 10ull << 30);
        CHECK(parse_size("2TiB") == 2ull << 40);
        CHECK(parse_size("3P") == 3ull << 50);
        CHECK(parse_size("5MB") == 5'000'000);
        CHECK(parse_size("18446744073709551615") == ~0ull);
        CHECK(parse_size("16383P") == 16383ull << 50);
    }

    TEST_CASE("bad sizes are refused and named") {
        for (const char* text :
             {"", "M", "-1", "+1", "1.5G", "1 M", "1MiBs", "1X", "0x10", "1Mi", "1BB",
              "99999999999999999999", "16384P", "18446744073709551615k"}) {
            CAPTURE(text);
            std::string error = usage_error([&] { parse_size(text); });
            CHECK(contains(error, (std::string("'") + text + "'").c_str()));
        }
    }

    TEST_CASE("durations") {
        CHECK(parse_duration("500ms") == 500ms);
        CHECK(parse_duration("30s") == 30s);
        CHECK(parse_duration("10m") == 10min);
        CHECK(parse_duration("1.5h") == 90min);
        CHECK(parse_duration("0.25s") == 250ms);
        CHECK(parse_duration("7d") == 168h);
        CHECK(parse_duration("0s") == 0ms);
        CHECK(parse_duration("36525d") == 24h * 36525);
    }

    TEST_CASE("bad durations are refused; a bare number gets a hint") {
        for (const char* text : {"", "s", "-1s", "1.s", ".5s", "1 s", "1w", "1S", "1h30m", "36526d",
                                 "99999999999999999999s"}) {
            CAPTURE(text);
            CHECK(usage_error([&] { parse_duration(text); }) != "");
        }
        CHECK(contains(usage_error([] { parse_duration("30"); }), "say the unit"));
    }

    TEST_CASE("times in all accepted forms mean the same moment") {
        const TimePoint six = parse_time("2026-11-22T06:00:00Z");
        CHECK(six.time_since_epoch() == 1795327200000ms);
        CHECK(parse_time("2026-11-22t06:00:00z") == six);
        CHECK(parse_time("2026-11-22 06:00:00Z") == six);
        CHECK(parse_time("2026-11-22T07:00:00+01:00") == six);
        CHECK(parse_time("2026-11-22T00:30:00-05:30") == six);
        CHECK(parse_time("20261122T060000.000Z") == six);
        CHECK(parse_time("20261122T060000Z") == six);
        CHECK(parse_time("20261122_060000") == six);
        CHECK(parse_time("2026-11-22T06:00:00.5+00:00") == six + 500ms);
        CHECK(parse_time("2026-11-22T06:00:00.1239999Z") == six + 123ms);
        CHECK(parse_time("2026-11-22T05:59:60Z") == six);
        CHECK(parse_time("2024-02-29T00:00:00Z") + 24h == parse_time("2024-03-01T00:00:00Z"));
        CHECK(parse_time("1969-12-31T23:59:59.999Z").time_since_epoch() == -1ms);
    }

    TEST_CASE("bad times are refused; one without zone gets a hint") {
        for (const char* text :
             {"", "yesterday", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z",
              "2026-11-22T24:00:00Z", "2026-11-22T06:60:00Z", "2026-11-22T06:00:61Z",
              "2026-11-22T06:00Z", "2026-11-22T06:00:00.Z", "2026-11-22T06:00:00+0100",
              "2026-11-22T06:00:00Zx", "2026-11-22T06:00:00+24:00", "20261122T060000.000",
              "26-11-22T06:00:00Z"}) {
            CAPTURE(text);
            CHECK(usage_error([&] { parse_time(text); }) != "");
        }
        CHECK(contains(usage_error([] { parse_time("2026-11-22T06:00:00"); }), "add the zone"));
        CHECK(contains(usage_error([] { parse_time("2026-11-22"); }), "add the zone"));
    }

    TEST_CASE("key times: exact forms only") {
        CHECK(parse_key_time("20261122T060000.123Z"));
        CHECK(parse_key_time("20261122_060000"));
        for (const char* text : {"", "20261122T060000.123", "20261122_060000Z", "20261122-060000",
                                 "2026-11-22T06:00:00Z", "20261122T060000.Z", "20261322_060000",
                                 "20261122T060000.123Z-abc"}) {
            CAPTURE(text);
            CHECK_FALSE(parse_key_time(text));
        }
    }

    TEST_CASE("formatted times round-trip and sort as text") {
        const TimePoint t = parse_time("2026-01-02T03:04:05.006Z");
        CHECK(format_key_time(t) == "20260102T030405.006Z");
        CHECK(format_rfc3339(t) == "2026-01-02T03:04:05.006Z");
        CHECK(parse_key_time(format_key_time(t)) == t);
        CHECK(parse_time(format_rfc3339(t)) == t);
        CHECK(format_key_time(t) < format_key_time(t + 1ms));
        CHECK(format_rfc3339(TimePoint(-1ms)) == "1969-12-31T23:59:59.999Z");
    }

    TEST_CASE("HTTP dates") {
        CHECK(parse_http_date("Sun, 22 Nov 2026 06:00:00 GMT") ==
              parse_time("2026-11-22T06:00:00Z"));
        for (const char* text : {"", "22 Nov 2026 06:00:00 GMT", "Sun, 22 Nov 2026 06:00:00 CET",
                                 "Sun, 32 Nov 2026 06:00:00 GMT", "Sun, 22 Xxx 2026 06:00:00 GMT",
                                 "Sun, 22 Nov 2026 06:00:00 GMT+1"}) {
            CAPTURE(text);
            CHECK_FALSE(parse_http_date(text));
        }
    }

    TEST_CASE("sizes and durations for people") {
        CHECK(format_size(0) == "0 B");
        CHECK(format_size(1023) == "1023 B");
        CHECK(format_size(1024) == "1.0 KiB");
        CHECK(format_size(12'897'485) == "12.3 MiB");
        // One byte less than 1 MiB was once printed as "1024.0 KiB".
        CHECK(format_size((1 << 20) - 1) == "1.0 MiB");
        CHECK(format_size(~0ull) == "16.0 EiB");
        CHECK(format_duration(0ms) == "0ms");
        CHECK(format_duration(250ms) == "250ms");
        CHECK(format_duration(3250ms) == "3.2s");
        CHECK(format_duration(59'999ms) == "59.9s");
        CHECK(format_duration(65s) == "1m05s");
        CHECK(format_duration(130min) == "2h10m");
        CHECK(format_duration(76h) == "3d04h");
        CHECK(format_duration(-65s) == "-1m05s");
    }

    TEST_CASE("the wall clock has millisecond precision and is plausible") {
        CHECK(now_wall() > parse_time("2020-01-01T00:00:00Z"));
    }
}
