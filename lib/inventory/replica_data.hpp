/// Every byte of a replica's objects, read and proved in bounded memory.
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"
#include "wal/segment.hpp"
#include "wal/snapshot.hpp"

#include <stop_token>

namespace zl {

/// The body of @p object: its SHA-256, its pages in order. Throws data naming the object.
void verify_segment_data(ObjectStore& store, const ObjectInfo& object, const SegmentHeader& header,
                         Progress& progress, std::stop_token stop);

/// The data frames of @p object: their SHA-256, and the checksum of the database in them. Throws
/// data naming the object.
void verify_snapshot_data(ObjectStore& store, const ObjectInfo& object,
                          const SnapshotHeader& header, Progress& progress, std::stop_token stop);

} // namespace zl
