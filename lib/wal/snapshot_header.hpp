/// The line of JSON in a snapshot's header frame. Internal to snapshot.cpp and snapshot_index.cpp.
#pragma once

#include "wal/snapshot.hpp"

#include <string>

namespace zl {

std::string snapshot_header_line(const SnapshotHeader& header);
/// Throws data, naming @p name: another format, values that cannot be, or a line that
/// snapshot_header_line() would not have written.
SnapshotHeader parse_snapshot_header(const std::string& line, const std::string& name);

} // namespace zl
