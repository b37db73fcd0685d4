/// The newest segment of a replica: who writes it, and how far it got.
#pragma once

#include "wal/replica_metadata.hpp"
#include "wal/segment.hpp"

namespace zl {

struct ReplicaHead {
    std::optional<ReplicaMetadata> metadata;
    std::optional<SegmentHeader> segment; ///< nullopt: there is no segment

    bool exists() const { return metadata || segment; }
    std::uint64_t sequence() const { return segment ? segment->sequence : 0; }
};

/// Reads metadata.json, lists wal/ past what it names and reads the header of the last one: three
/// requests, however long the history. Throws data (65, with a hint) when the replica is
/// zlayer-storage's or its head does not decode. @p confirmed: a segment that the caller knows to be
/// there; a listing may lag behind it (OpenStack Swift's does), reading does not.
ReplicaHead read_replica_head(ObjectStore& store, const ReplicaKeys& keys,
                              std::uint64_t confirmed = 0);

/// The header of an object in wal/ or merged/; nullopt: no such key. Throws data.
std::optional<SegmentHeader> get_segment_header(ObjectStore& store, const std::string& key);
/// The header and seek table of a snapshot; nullopt: no such key. Throws data.
struct SnapshotIndex;
std::optional<SnapshotIndex> get_snapshot_index(ObjectStore& store, const std::string& key);

} // namespace zl
