/// Results in rows: aligned for people, separated by tabs for programs.
#pragma once

#include <string>
#include <vector>

namespace zl {

using TableRow = std::vector<std::string>;

/// Lines with columns two blanks apart; all rows have as many cells as the first. Widths count
/// characters of UTF-8, as far as each takes one column; what comes from a store passes shown()
/// first.
std::vector<std::string> aligned(const std::vector<TableRow>& rows);

/// One line of TSV. Cells hold no control characters: shown().
std::string tab_separated(const TableRow& row);

} // namespace zl
