/// A shipper's cache directory as files: making, opening and naming. Internal to ShipState.
#pragma once

#include "wal/ship_state.hpp"

namespace zl::ship_open {

/// `{sequence:020}.wal.zst`, and the sequence in such a name.
std::string segment_file_name(std::uint64_t sequence);
std::optional<std::uint64_t> parse_segment_file(const std::string& name);
std::vector<std::string> names_in(const std::string& directory);
/// Missing is fine.
void remove_file(const std::string& path);

/// What is safe, and the way out, for whoever meets a damaged state (kind data; others unchanged).
Error& explain(Error& e, const std::string& directory);
/// As ShipState's constructor says, all but the rows.
Db open_database(const std::string& directory, ShipState::Access access);

} // namespace zl::ship_open
