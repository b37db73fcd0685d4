/// The pages of a snapshot that no segment replaces, fetched as parallel ranges into a PageWriter.
#pragma once

#include "base/report.hpp"
#include "wal/page_writer.hpp"
#include "wal/restore_catalogue.hpp"
#include "wal/restorer.hpp"

#include <cstdint>
#include <stop_token>

namespace zl {

/// Frames of which no page is needed are not fetched, where that saves a request, and never
/// decompressed. Returns the bytes that were fetched. Throws data when a frame is corrupt,
/// PlanAgain when the snapshot is gone. Memory: two frames (1 MiB each) for each of at most
/// kMaxSnapshotFetchers threads.
std::uint64_t fetch_snapshot(ReplicaCatalogue& catalogue, const RestorePlan& plan,
                             PageWriter& writer, int jobs, Progress& progress,
                             std::stop_token stop);

/// Bytes per request.
inline constexpr std::uint64_t kSnapshotRange = 8 << 20;
inline constexpr int kMaxSnapshotFetchers = 8;

} // namespace zl
