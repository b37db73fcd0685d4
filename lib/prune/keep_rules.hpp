/// Which moments of a row stay, and why: a pure function of times.
///
/// Each rule looks at the row for itself, from the newest on; what any rule keeps stays.
///   last N      the newest N
///   hourly N    of the newest N hours that have a moment, the newest of each; daily, weekly
///               (ISO: Monday to Sunday) and monthly alike. All in UTC. Hours, days ... without a
///               moment do not count.
///   within D    what is not older than D now
/// Whatever the rules say, the newest stays, and the newest of those that are good.
#pragma once

#include "base/units.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

struct KeepRules {
    int last = 0, hourly = 0, daily = 0, weekly = 0, monthly = 0; ///< 0: no such rule
    std::optional<Millis> within;

    /// Some rule but `within`, which alone means something for databases.
    bool counts() const { return last || hourly || daily || weekly || monthly; }
    bool any() const { return counts() || within; }
};

struct KeepMoment {
    TimePoint time{};
    bool good = true; ///< it can be read, and what it names is there
};

/// For each of @p moments (oldest first; equal times are different moments) why it stays: `newest`,
/// `last`, `hourly`, ..., `within`, `last good`. No reason: no rule keeps it.
std::vector<std::vector<std::string>> keep_reasons(const std::vector<KeepMoment>& moments,
                                                   const KeepRules& rules, TimePoint now);

} // namespace zl
