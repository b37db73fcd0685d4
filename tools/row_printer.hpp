/// Rows of a result: a table on a terminal, TSV without a header elsewhere, JSON lines with --json.
#pragma once

#include "base/json.hpp"
#include "base/units.hpp"
#include "table.hpp"
#include "tool.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

class RowPrinter {
public:
    /// @p header: of the table; without cells there is none.
    RowPrinter(ToolContext& ctx, TableRow header);

    /// A table is printed by finish(), everything else at once.
    void add(TableRow cells, const Json& json);
    void finish();

    bool json() const { return json_; }
    /// A table, for people.
    bool table() const { return table_; }

    // ---- cells ----
    /// Bytes for programs, `12.3 MiB` for people; `-` for none.
    std::string size(const std::optional<std::uint64_t>& bytes) const;
    /// 12 digits for people.
    std::string digest(const std::string& hex) const;
    /// RFC 3339; `-` for none.
    static std::string time(const std::optional<TimePoint>& time);
    /// What comes from a store: escaped; `-` if it is empty.
    static std::string text(const std::string& bytes);

private:
    ToolContext& ctx_;
    bool json_, table_;
    std::vector<TableRow> rows_;
};

/// Sets a field to bytes from a store. What is no UTF-8 looks like other such bytes in JSON: then
/// FIELD_escaped has them as shown() writes them.
void set_text(Json& object, const std::string& field, const std::string& bytes);

} // namespace zl
