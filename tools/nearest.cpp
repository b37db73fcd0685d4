#include "nearest.hpp"

#include <algorithm>

namespace zl {

namespace {

/// Damerau-Levenshtein distance (optimal string alignment).
std::size_t edits(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        last[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            row[j] = std::min(
                {last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = std::min(row[j], before[j - 2] + 1);
        }
        before.swap(last);
        last.swap(row);
    }
    return last[b.size()];
}

} // namespace

std::optional<std::string> nearest(std::string_view name,
                                   const std::vector<std::string>& candidates) {
    std::optional<std::string> best;
    // A short name resembles everything.
    std::size_t limit = name.size() < 5 ? 1 : std::max<std::size_t>(2, name.size() / 3);
    for (const std::string& candidate : candidates) {
        std::size_t distance = edits(name, candidate);
        if (distance < candidate.size() && distance <= limit) {
            best = candidate;
            if (distance == 0)
                break;
            limit = distance - 1;
        }
    }
    return best;
}

} // namespace zl
