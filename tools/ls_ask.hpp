/// zl-ls: the questions that it answers with yes (0) or no (1).
#pragma once

#include "ls_list.hpp"

#include <string>
#include <vector>

namespace zl {

/// --check: prints findings. @p what: all if it is empty.
int ls_check(const LsContext& ls, const std::vector<std::string>& what, bool full);
/// --max-age: prints how old the newest of each is; those that are older than @p limit are named on
/// stderr too. Throws not_found when there is nothing to ask of.
int ls_max_age(const LsContext& ls, const std::vector<std::string>& what, Millis limit);

} // namespace zl
