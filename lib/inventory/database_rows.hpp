/// Databases as a listing shows them, and how new the newest of a name is.
#pragma once

#include "store/object_store.hpp"
#include "wal/replica_keys.hpp"
#include "wal/restorer.hpp"

#include <cstddef>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

struct DatabaseRow {
    std::string name; ///< as given
    bool zlayer = false;
    std::vector<RestorableRange> ranges; ///< ascending; as zl-restore --list
    std::string problem;                 ///< why there are none
    bool damaged = false;                ///< what is there cannot be read
};

/// @p max_headers: of segments that are read; above it gaps are not looked for. Throws not_found,
/// and what the store throws; damage is told by the row.
DatabaseRow look_at_database(ObjectStore& store, const ReplicaKeys& keys, const std::string& name,
                             int jobs, std::stop_token stop, std::size_t max_headers);

/// When the newest thing of a replica was written: the newest segment, snapshot or metadata.json by
/// what they say of themselves. nullopt: there is nothing. Four small requests.
std::optional<TimePoint> newest_of_database(ObjectStore& store, const ReplicaKeys& keys);

} // namespace zl
