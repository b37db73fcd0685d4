/// The table of page hashes in state.db: rows of 128 of them, little endian, with a hash over the
/// row. A row is 1 KiB, so that scanning all and changing a few both touch few SQLite pages.
/// Pages count from 1; hash 0 = none. No function begins a transaction. Throws data: a row is
/// damaged. Internal to ship_state.cpp.
#pragma once

#include "wal/ship_state.hpp"

namespace zl::hash_blocks {

/// @p changed: best ascending; each row is read and written once per run of its pages.
void write(Db& db, const std::vector<PageHash>& changed);
void drop_beyond(Db& db, std::uint32_t page_count);
void clear(Db& db);
/// Hashes of pages first .. first+count-1.
std::vector<std::uint64_t> run(Db& db, std::uint32_t first, std::size_t count);
/// Hashes of @p pages (ascending), in that order.
std::vector<std::uint64_t> of_pages(Db& db, const std::vector<std::uint32_t>& pages);
/// Pages that have one.
std::uint32_t count(Db& db);

} // namespace zl::hash_blocks
