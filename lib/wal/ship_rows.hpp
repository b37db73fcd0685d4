/// Rows of state.db: segments, the position, the catalogue. Internal to ship_state.cpp.
#pragma once

#include "wal/ship_state.hpp"

namespace zl::ship_rows {

/// @p table: `queue` or `acknowledged`.
void insert_segment(Db& db, const char* table, const QueuedSegment& segment);
/// The first row of @p table with @p tail (WHERE, ORDER BY), in which a `?` is @p sequence.
std::optional<QueuedSegment> select_segment(Db& db, const char* table, std::string_view tail,
                                            std::uint64_t sequence = 0);
void replace_position(Db& db, const ShipPosition& position);
std::optional<ShipPosition> select_position(Db& db);
void insert_entry(Db& db, const CatalogueEntry& entry);
/// Ordered by range.last, then key.
std::vector<CatalogueEntry> select_entries(Db& db, CatalogueEntry::Kind kind);

} // namespace zl::ship_rows
