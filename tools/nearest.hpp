/// "Did you mean ...": the known name that a mistyped one resembles.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

/// The candidate with the fewest edits (insert, delete, replace, swap of neighbours), if that is at
/// most a third of the name's length (1 below five letters). nullopt: nothing resembles it.
std::optional<std::string> nearest(std::string_view name,
                                   const std::vector<std::string>& candidates);

} // namespace zl
