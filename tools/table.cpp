#include "table.hpp"

#include <algorithm>

namespace zl {

namespace {

std::size_t width_of(const std::string& cell) {
    return static_cast<std::size_t>(std::count_if(cell.begin(), cell.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80; // UTF-8: the rest of a character
    }));
}

} // namespace

std::vector<std::string> aligned(const std::vector<TableRow>& rows) {
    std::vector<std::size_t> width(rows.empty() ? 0 : rows.front().size());
    for (const TableRow& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i)
            width[i] = std::max(width[i], width_of(row[i]));
    std::vector<std::string> lines;
    for (const TableRow& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i)
            line += row[i] + std::string(width[i] - width_of(row[i]) + 2, ' ');
        lines.push_back(line.substr(0, line.find_last_not_of(' ') + 1));
    }
    return lines;
}

std::string tab_separated(const TableRow& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
        line += (i ? "\t" : "") + row[i];
    return line;
}

} // namespace zl
