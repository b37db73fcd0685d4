#include "row_printer.hpp"

#include "base/shown.hpp"

#include <unistd.h>

namespace zl {

RowPrinter::RowPrinter(ToolContext& ctx, TableRow header)
    : ctx_(ctx), json_(ctx.settings().json), table_(!json_ && ::isatty(STDOUT_FILENO) == 1) {
    if (!header.empty())
        rows_.push_back(std::move(header));
}

void RowPrinter::add(TableRow cells, const Json& json) {
    if (json_)
        ctx_.print(dump_json(json));
    else if (table_)
        rows_.push_back(std::move(cells));
    else
        ctx_.print(tab_separated(cells));
}

void RowPrinter::finish() {
    if (table_)
        for (const std::string& line : aligned(rows_))
            ctx_.print(line);
    rows_.clear();
}

std::string RowPrinter::size(const std::optional<std::uint64_t>& bytes) const {
    if (!bytes)
        return "-";
    return table_ ? format_size(*bytes) : std::to_string(*bytes);
}

std::string RowPrinter::digest(const std::string& hex) const {
    return table_ ? hex.substr(0, 12) : hex;
}

std::string RowPrinter::time(const std::optional<TimePoint>& time) {
    return time ? format_rfc3339(*time) : "-";
}

std::string RowPrinter::text(const std::string& bytes) {
    return bytes.empty() ? "-" : shown(bytes);
}

void set_text(Json& object, const std::string& field, const std::string& bytes) {
    object[field] = bytes;
    try {
        static_cast<void>(object[field].dump());
    } catch (const Json::type_error&) { // not UTF-8
        object[field + "_escaped"] = shown(bytes);
    }
}

} // namespace zl
