/// Whether the replica of a database is whole: headers, chains, snapshots, metadata.json.
#pragma once

#include "inventory/findings.hpp"
#include "wal/replica_keys.hpp"

#include <string>

namespace zl {

/// @p subject: `db/app`, for findings.
///   objects    headers can be read and fit their keys; full: every byte (replica_data.hpp)
///   identity   all are of one database
///   chain      each segment follows the one before, each snapshot is of the state that a segment
///              leads to
///   coverage   from the oldest snapshot of each generation to its end, every state can be
///              restored; what cannot is told in moments
///   metadata   names a snapshot that is there, leads nowhere, agrees with headers
/// Gaps that headers mark, foreign keys and a generation that has just begun are notes. What came
/// after the last metadata.json and was lost since leaves no trace, nor does a snapshot without
/// which every state can be restored: the counts in metadata.json lag behind retention.
void check_database(const CheckContext& context, const ReplicaKeys& keys,
                    const std::string& subject);

} // namespace zl
