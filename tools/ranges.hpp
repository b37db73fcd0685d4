/// What can be restored of a database, as zl-restore --list and zl-ls print it.
#pragma once

#include "base/json.hpp"
#include "table.hpp"
#include "wal/restorer.hpp"

#include <vector>

namespace zl {

Json range_json(const RestorableRange& range);
/// For people, with a header.
std::vector<TableRow> range_table(const std::vector<RestorableRange>& ranges);

} // namespace zl
