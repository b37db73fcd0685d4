/// metadata.json of a replica: where to start looking. It may lag behind the objects, never lead;
/// what it says of them is proved by their own headers.
#pragma once

#include "base/json.hpp"
#include "base/units.hpp"
#include "store/object_store.hpp"
#include "stream/hash.hpp"
#include "wal/replica_keys.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

struct GenerationInfo {
    std::string id;                   ///< 16 hex digits
    std::string parent;               ///< empty: the first
    std::uint64_t fork_sequence = 0;  ///< last sequence shared with the parent
    std::uint64_t first_sequence = 0; ///< of its claim
    TimePoint started{};
    std::string host;
    bool operator==(const GenerationInfo&) const = default;
};

struct ReplicaMetadata {
    // The fields of zlayer-storage.
    std::string latest_snapshot; ///< full key; empty: none yet
    std::optional<TimePoint> latest_snapshot_time;
    std::uint64_t latest_wal_sequence = 0; ///< highest acknowledged when this was written
    std::uint64_t snapshot_count = 0;
    std::string db_identifier; ///< our db_id
    TimePoint last_modified{};
    // Ours.
    int format = 0; ///< 0: written by zlayer-storage
    std::uint64_t latest_snapshot_sequence = 0;
    std::string generation;
    std::string writer, host;                ///< of the one who wrote this
    bool released = false;                   ///< that writer ended its work in order
    std::vector<GenerationInfo> generations; ///< all, oldest first
    Json other = Json::object();             ///< fields we do not know: kept

    /// Written by zlayer-storage, not by us.
    bool foreign() const { return format == 0; }
};

/// Pretty JSON, the fields of zlayer-storage first.
std::string encode_replica_metadata(const ReplicaMetadata& metadata);
/// Throws data: no JSON object, a field of the wrong type, format > ours.
ReplicaMetadata decode_replica_metadata(std::string_view text, std::string_view name);

/// nullopt: there is none.
std::optional<ReplicaMetadata> get_replica_metadata(ObjectStore& store, const ReplicaKeys& keys);
void put_replica_metadata(ObjectStore& store, const ReplicaKeys& keys,
                          const ReplicaMetadata& metadata);

} // namespace zl
