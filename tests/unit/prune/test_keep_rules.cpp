#include "prune/keep_rules.hpp"

#include <doctest/doctest.h>

#include <sstream>

using namespace zl;

namespace {

/// `0:newest,last 3:daily`: the moments that stay, by index.
std::string kept(const std::vector<const char*>& times, const KeepRules& rules,
                 const char* now = "2026-11-22T12:00:00Z", std::vector<std::size_t> bad = {}) {
    std::vector<KeepMoment> moments;
    for (const char* t : times)
        moments.push_back({parse_time(t), true});
    for (std::size_t i : bad)
        moments[i].good = false;
    auto reasons = keep_reasons(moments, rules, parse_time(now));
    REQUIRE(reasons.size() == times.size());
    std::ostringstream out;
    for (std::size_t i = 0; i < reasons.size(); ++i) {
        if (reasons[i].empty())
            continue;
        out << (out.tellp() > 0 ? " " : "") << i << ':';
        for (std::size_t k = 0; k < reasons[i].size(); ++k)
            out << (k ? "," : "") << reasons[i][k];
    }
    return out.str();
}

KeepRules last(int n) {
    KeepRules r;
    r.last = n;
    return r;
}

} // namespace

TEST_SUITE_BEGIN("prune/keep_rules");

TEST_CASE("nothing to choose from") {
    CHECK(kept({}, last(3)) == "");
}

TEST_CASE("the newest stays whatever the rules say") {
    CHECK(kept({"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"}, {}) == "1:newest");
    KeepRules rules;
    rules.within = Millis(0);
    CHECK(kept({"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"}, rules) == "1:newest");
}

TEST_CASE("the newest that is good stays too") {
    const std::vector<const char*> times = {"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z",
                                            "2026-01-03T00:00:00Z"};
    CHECK(kept(times, last(1), "2026-11-22T12:00:00Z", {2}) == "1:last good 2:newest,last");
    CHECK(kept(times, last(1), "2026-11-22T12:00:00Z", {1, 2}) == "0:last good 2:newest,last");
    CHECK(kept(times, last(1), "2026-11-22T12:00:00Z", {0}) == "2:newest,last");
    CHECK(kept(times, {}, "2026-11-22T12:00:00Z", {0, 1, 2}) == "2:newest");
}

TEST_CASE("keep-last counts moments, also equal ones") {
    const std::vector<const char*> times = {"2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z",
                                            "2026-01-01T00:00:00Z"};
    CHECK(kept(times, last(2)) == "1:last 2:newest,last");
    CHECK(kept(times, last(9)) == "0:last 1:last 2:newest,last");
}

TEST_CASE("keep-within is inclusive, and a moment of the future is within") {
    KeepRules rules;
    rules.within = Millis(std::chrono::hours(24));
    CHECK(kept({"2026-11-21T11:59:59.999Z", "2026-11-21T12:00:00Z", "2026-11-22T11:00:00Z",
                "2026-12-01T00:00:00Z"},
               rules) == "1:within 2:within 3:newest,within");
}

TEST_CASE("of each hour the newest, hours without a moment do not count") {
    KeepRules rules;
    rules.hourly = 3;
    CHECK(kept({"2026-11-20T05:10:00Z", "2026-11-20T09:59:59.999Z", "2026-11-22T10:00:00Z",
                "2026-11-22T10:30:00Z", "2026-11-22T11:00:00Z", "2026-11-22T11:59:59Z"},
               rules) == "1:hourly 3:hourly 5:newest,hourly");
}

TEST_CASE("days are those of UTC") {
    KeepRules rules;
    rules.daily = 2;
    CHECK(kept({"2026-11-20T22:59:59Z", "2026-11-21T00:30:00+01:00", "2026-11-21T00:00:00Z",
                "2026-11-21T23:59:59.999Z"},
               rules) == "1:daily 3:newest,daily");
}

TEST_CASE("weeks begin on Monday, and go on over the year's end") {
    KeepRules rules;
    rules.weekly = 2;
    // 2026-11-22 is a Sunday, 2026-11-23 a Monday.
    CHECK(kept({"2026-11-15T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-22T23:59:59Z",
                "2026-11-23T00:00:00Z"},
               rules) == "2:weekly 3:newest,weekly");
    // 2026-12-28 (Monday) to 2027-01-03 (Sunday) is one week.
    CHECK(kept({"2026-12-27T12:00:00Z", "2026-12-31T12:00:00Z", "2027-01-01T12:00:00Z"}, rules) ==
          "0:weekly 2:newest,weekly");
}

TEST_CASE("months of different years differ") {
    KeepRules rules;
    rules.monthly = 3;
    CHECK(kept({"2024-02-29T00:00:00Z", "2025-11-30T23:59:59Z", "2026-11-01T00:00:00Z",
                "2026-11-30T00:00:00Z"},
               rules) == "0:monthly 1:monthly 3:newest,monthly");
}

TEST_CASE("rules add up, each for itself") {
    KeepRules rules = last(1);
    rules.daily = 2;
    rules.monthly = 2;
    CHECK(kept({"2026-10-30T00:00:00Z", "2026-10-31T00:00:00Z", "2026-11-20T00:00:00Z",
                "2026-11-21T00:00:00Z", "2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z"},
               rules) == "1:monthly 4:daily 5:newest,last,daily,monthly");
}

TEST_SUITE_END();
