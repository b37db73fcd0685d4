/// Rows of state.db: segments, the position, the catalogue. Internal to ShipState.
#pragma once

#include "wal/ship_state.hpp"

#include <functional>
#include <span>

namespace zl::ship_rows {

/// @p table: `queue` or `acknowledged`.
void insert_segment(Db& db, const char* table, const QueuedSegment& segment);
/// The first row of @p table with @p tail (WHERE, ORDER BY), in which a `?` is @p sequence.
std::optional<QueuedSegment> select_segment(Db& db, const char* table, std::string_view tail,
                                            std::uint64_t sequence = 0);
void replace_position(Db& db, const ShipPosition& position);
std::optional<ShipPosition> select_position(Db& db);
void insert_entries(Db& db, std::span<const CatalogueEntry> entries);
/// Ordered by range.last, then key.
void visit_entries(Db& db, CatalogueEntry::Kind kind,
                   const std::function<void(const CatalogueEntry&)>& visit);

} // namespace zl::ship_rows
