#include "prune/keep_rules.hpp"

#include <chrono>
#include <functional>

namespace zl {

namespace {

using Reasons = std::vector<std::vector<std::string>>;
using std::chrono::days;
using std::chrono::floor;

/// Numbers that grow with time, one for each period.
std::int64_t hour_of(TimePoint t) {
    return floor<std::chrono::hours>(t).time_since_epoch().count();
}
std::int64_t day_of(TimePoint t) {
    return floor<days>(t).time_since_epoch().count();
}
std::int64_t week_of(TimePoint t) {
    // 1970-01-01 was a Thursday: three days later in the week than the Monday that begins it.
    return floor<std::chrono::weeks>(t + days(3)).time_since_epoch().count();
}
std::int64_t month_of(TimePoint t) {
    const std::chrono::year_month_day date(floor<days>(t));
    return std::int64_t{int(date.year())} * 12 + unsigned(date.month());
}

/// The newest moment of each of the newest @p count periods.
void keep_periods(const std::vector<KeepMoment>& moments, int count, const char* reason,
                  std::int64_t (*period_of)(TimePoint), Reasons& out) {
    std::optional<std::int64_t> seen;
    for (std::size_t i = moments.size(); i-- > 0 && count > 0;) {
        const std::int64_t period = period_of(moments[i].time);
        if (seen == period)
            continue;
        seen = period;
        out[i].push_back(reason);
        --count;
    }
}

} // namespace

Reasons keep_reasons(const std::vector<KeepMoment>& moments, const KeepRules& rules,
                     TimePoint now) {
    Reasons out(moments.size());
    if (moments.empty())
        return out;
    out.back().push_back("newest");
    for (std::size_t i = moments.size(); i-- > 0;)
        if (moments[i].good) {
            if (i + 1 != moments.size())
                out[i].push_back("last good");
            break;
        }
    for (std::size_t i = 0; i < moments.size(); ++i) {
        if (moments.size() - i <= static_cast<std::size_t>(rules.last))
            out[i].push_back("last");
        if (rules.within && now - moments[i].time <= *rules.within)
            out[i].push_back("within");
    }
    keep_periods(moments, rules.hourly, "hourly", hour_of, out);
    keep_periods(moments, rules.daily, "daily", day_of, out);
    keep_periods(moments, rules.weekly, "weekly", week_of, out);
    keep_periods(moments, rules.monthly, "monthly", month_of, out);
    return out;
}

} // namespace zl
