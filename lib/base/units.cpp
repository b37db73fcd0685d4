#include "base/units.hpp"

#include "base/error.hpp"

#include <time.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <limits>

namespace zl {

namespace {

[[noreturn]] void bad(const char* what, std::string_view text, const char* wanted,
                      const char* hint = "") {
    throw Error(ErrorKind::usage,
                std::string(what) + " '" + std::string(text) + "', expected " + wanted, hint);
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

std::string lower(std::string_view s) {
    std::string out(s);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z')
            c = static_cast<char>(c - 'A' + 'a');
    return out;
}

/// Length of the run of digits at the start.
std::size_t digits(std::string_view s) {
    std::size_t n = 0;
    while (n < s.size() && is_digit(s[n]))
        ++n;
    return n;
}

/// Takes text apart from the left; every step says whether it fitted.
class Scanner {
public:
    explicit Scanner(std::string_view text) : rest_(text) {}

    bool done() const { return rest_.empty(); }

    /// Exactly @p count digits.
    bool number(std::size_t count, int& out) {
        if (rest_.size() < count || digits(rest_.substr(0, count)) != count)
            return false;
        std::from_chars(rest_.data(), rest_.data() + count, out);
        rest_.remove_prefix(count);
        return true;
    }
    bool any_of(std::string_view set, char* which = nullptr) {
        if (rest_.empty() || set.find(rest_[0]) == std::string_view::npos)
            return false;
        if (which)
            *which = rest_[0];
        rest_.remove_prefix(1);
        return true;
    }
    bool literal(std::string_view s) {
        if (rest_.substr(0, s.size()) != s)
            return false;
        rest_.remove_prefix(s.size());
        return true;
    }
    /// `.` and at least one digit, or nothing; digits after the third are cut off.
    bool fraction(int& millis) {
        millis = 0;
        if (!any_of("."))
            return true;
        std::size_t n = digits(rest_);
        if (n == 0)
            return false;
        for (std::size_t i = 0, weight = 100; i < n && weight > 0; ++i, weight /= 10)
            millis += (rest_[i] - '0') * static_cast<int>(weight);
        rest_.remove_prefix(n);
        return true;
    }

private:
    std::string_view rest_;
};

struct Fields {
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, millis = 0;
};

std::optional<TimePoint> to_time(const Fields& f) {
    using namespace std::chrono;
    year_month_day date{year(f.year), month(static_cast<unsigned>(f.month)),
                        day(static_cast<unsigned>(f.day))};
    // A leap second (60) is allowed by RFC 3339 and becomes the second after it.
    if (!date.ok() || f.hour > 23 || f.minute > 59 || f.second > 60)
        return std::nullopt;
    return TimePoint(sys_days(date)) + hours(f.hour) + minutes(f.minute) + seconds(f.second) +
           milliseconds(f.millis);
}

Fields to_fields(TimePoint t) {
    using namespace std::chrono;
    auto midnight = floor<days>(t);
    year_month_day date(midnight);
    hh_mm_ss clock(t - midnight);
    return {static_cast<int>(date.year()),
            static_cast<int>(static_cast<unsigned>(date.month())),
            static_cast<int>(static_cast<unsigned>(date.day())),
            static_cast<int>(clock.hours().count()),
            static_cast<int>(clock.minutes().count()),
            static_cast<int>(clock.seconds().count()),
            static_cast<int>(clock.subseconds().count())};
}

std::string print(const char* format, const Fields& f) {
    std::array<char, 64> buffer{};
    std::snprintf(buffer.data(), buffer.size(), format, f.year, f.month, f.day, f.hour, f.minute,
                  f.second, f.millis);
    return buffer.data();
}

enum class Zone { utc, missing, wrong };

/// `Z`, `+01:00` or nothing; @p offset is what has to be taken off to get UTC.
Zone scan_zone(Scanner& s, Millis& offset) {
    using namespace std::chrono;
    if (s.done())
        return Zone::missing;
    if (s.any_of("Zz"))
        return Zone::utc;
    char sign = 0;
    int hour = 0, minute = 0;
    if (!s.any_of("+-", &sign) || !s.number(2, hour) || !s.literal(":") || !s.number(2, minute) ||
        hour > 23 || minute > 59)
        return Zone::wrong;
    offset = hours(hour) + minutes(minute);
    if (sign == '-')
        offset = -offset;
    return Zone::utc;
}

constexpr const char* kTimeForm = "a time such as 2026-11-22T06:00:00Z";
constexpr const char* kZoneHint =
    "add the zone: Z for UTC, or the offset from it, as in 2026-11-22T06:00:00+01:00";

} // namespace

std::uint64_t parse_size(std::string_view text) {
    constexpr const char* kWanted = "a size such as 64MiB, 10G, 5MB or 4096";
    std::uint64_t number = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code == std::errc::result_out_of_range)
        bad("size is too large:", text, "less than 16 EiB");
    if (code != std::errc())
        bad("bad size", text, kWanted);

    std::string unit = lower(text.substr(static_cast<std::size_t>(end - text.data())));
    if (unit.empty() || unit == "b")
        return number;
    std::size_t power = std::string_view("kmgtp").find(unit[0]);
    std::string tail = unit.substr(1);
    if (power == std::string_view::npos || (!tail.empty() && tail != "b" && tail != "ib"))
        bad("bad size", text, kWanted);
    const std::uint64_t base = tail == "b" ? 1000 : 1024;
    for (std::size_t i = 0; i <= power; ++i) {
        if (number > std::numeric_limits<std::uint64_t>::max() / base)
            bad("size is too large:", text, "less than 16 EiB");
        number *= base;
    }
    return number;
}

Millis parse_duration(std::string_view text) {
    constexpr const char* kWanted = "a duration such as 500ms, 30s, 10m, 1.5h or 7d";
    std::size_t whole_digits = digits(text);
    std::uint64_t whole = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + whole_digits, whole);
    if (whole_digits == 0 || code != std::errc())
        bad("bad duration", text, kWanted);

    std::string_view rest = text.substr(whole_digits);
    // Thousandths of the unit: more is never written by hand.
    int thousandths = 0;
    if (!rest.empty() && rest[0] == '.') {
        std::size_t n = digits(rest.substr(1));
        Scanner s(rest);
        if (n == 0 || !s.fraction(thousandths))
            bad("bad duration", text, kWanted);
        rest.remove_prefix(n + 1);
    }
    struct Unit {
        std::string_view name;
        std::uint64_t millis;
    };
    static constexpr std::array<Unit, 5> kUnits{
        {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
    if (rest.empty())
        bad("bad duration", text, kWanted, "say the unit: ms, s, m, h or d");
    for (const Unit& unit : kUnits) {
        if (rest != unit.name)
            continue;
        // A hundred years is more than anybody means and leaves room for sums.
        if (whole > std::uint64_t{36'525} * 86'400'000 / unit.millis)
            bad("duration is too long:", text, "at most 36525d");
        return Millis(whole * unit.millis +
                      static_cast<std::uint64_t>(thousandths) * unit.millis / 1000);
    }
    bad("bad duration", text, kWanted);
}

std::optional<TimePoint> parse_key_time(std::string_view text) {
    Scanner s(text);
    Fields f;
    char separator = 0;
    if (!s.number(4, f.year) || !s.number(2, f.month) || !s.number(2, f.day) ||
        !s.any_of("T_", &separator) || !s.number(2, f.hour) || !s.number(2, f.minute) ||
        !s.number(2, f.second))
        return std::nullopt;
    if (separator == 'T' && (!s.fraction(f.millis) || !s.literal("Z")))
        return std::nullopt;
    if (!s.done())
        return std::nullopt;
    return to_time(f);
}

TimePoint parse_time(std::string_view text) {
    if (auto key_time = parse_key_time(text))
        return *key_time;
    Scanner s(text);
    Fields f;
    if (!s.number(4, f.year) || !s.literal("-") || !s.number(2, f.month) || !s.literal("-") ||
        !s.number(2, f.day))
        bad("bad time", text, kTimeForm);
    if (s.done())
        bad("time without hour and zone", text, kTimeForm, kZoneHint);
    if (!s.any_of("Tt ") || !s.number(2, f.hour) || !s.literal(":") || !s.number(2, f.minute) ||
        !s.literal(":") || !s.number(2, f.second) || !s.fraction(f.millis))
        bad("bad time", text, kTimeForm);
    Millis offset{0};
    switch (scan_zone(s, offset)) {
    case Zone::missing:
        bad("time without zone", text, kTimeForm, kZoneHint);
    case Zone::wrong:
        bad("bad time zone in", text, kTimeForm, kZoneHint);
    case Zone::utc:
        break;
    }
    auto time = to_time(f);
    if (!time || !s.done())
        bad("bad time", text, kTimeForm);
    return *time - offset;
}

std::string format_key_time(TimePoint t) {
    return print("%04d%02d%02dT%02d%02d%02d.%03dZ", to_fields(t));
}

std::string format_rfc3339(TimePoint t) {
    return print("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", to_fields(t));
}

std::optional<TimePoint> parse_http_date(std::string_view text) {
    static constexpr std::array<std::string_view, 7> kDays{"Mon", "Tue", "Wed", "Thu",
                                                           "Fri", "Sat", "Sun"};
    static constexpr std::array<std::string_view, 12> kMonths{
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    Scanner s(text);
    Fields f;
    bool day_name = false;
    for (std::string_view d : kDays)
        day_name = day_name || s.literal(d);
    if (!day_name || !s.literal(", ") || !s.number(2, f.day) || !s.literal(" "))
        return std::nullopt;
    for (std::size_t i = 0; i < kMonths.size() && f.month == 0; ++i)
        if (s.literal(kMonths[i]))
            f.month = static_cast<int>(i) + 1;
    if (f.month == 0 || !s.literal(" ") || !s.number(4, f.year) || !s.literal(" ") ||
        !s.number(2, f.hour) || !s.literal(":") || !s.number(2, f.minute) || !s.literal(":") ||
        !s.number(2, f.second) || !s.literal(" GMT") || !s.done())
        return std::nullopt;
    return to_time(f);
}

std::string format_size(std::uint64_t bytes) {
    if (bytes < 1024)
        return std::to_string(bytes) + " B";
    static constexpr std::array<const char*, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    // 1023.95 would be printed as 1024.0 of the smaller unit.
    while (value >= 1023.95 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    std::array<char, 32> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%.1f %s", value, kUnits[unit]);
    return buffer.data();
}

std::string format_duration(Millis d) {
    const long long ms = d.count();
    if (ms < 0)
        return "-" + format_duration(-d);
    std::array<char, 48> buffer{};
    const long long seconds = ms / 1000;
    if (ms < 1000)
        std::snprintf(buffer.data(), buffer.size(), "%lldms", ms);
    else if (seconds < 60)
        std::snprintf(buffer.data(), buffer.size(), "%lld.%llds", seconds, ms % 1000 / 100);
    else if (seconds < 3600)
        std::snprintf(buffer.data(), buffer.size(), "%lldm%02llds", seconds / 60, seconds % 60);
    else if (seconds < 86'400)
        std::snprintf(buffer.data(), buffer.size(), "%lldh%02lldm", seconds / 3600,
                      seconds % 3600 / 60);
    else
        std::snprintf(buffer.data(), buffer.size(), "%lldd%02lldh", seconds / 86'400,
                      seconds % 86'400 / 3600);
    return buffer.data();
}

TimePoint now_wall() {
    return std::chrono::floor<Millis>(std::chrono::system_clock::now());
}

Millis boot_time() {
    timespec t{};
    ::clock_gettime(CLOCK_BOOTTIME, &t);
    return Millis(std::int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1000000);
}

} // namespace zl
