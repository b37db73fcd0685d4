/// zl-ls: the rows of layers and databases.
#pragma once

#include "inventory/database_rows.hpp"
#include "inventory/layer_rows.hpp"
#include "row_printer.hpp"

#include <optional>

namespace zl {

/// @p details: -l.
TableRow row_header(bool details);
void add_row(RowPrinter& out, const LayerRow& row, bool details);
void add_row(RowPrinter& out, const DatabaseRow& row, bool details);

/// meta.json as it is stored; an empty object for none.
Json meta_json(const std::optional<LayerMeta>& meta);
/// Those fields of @p from that @p to does not have yet.
void add_fields(Json& to, const Json& from);

} // namespace zl
