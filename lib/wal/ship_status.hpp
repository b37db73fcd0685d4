/// What `zl-walship --status` tells: from the running shipper or, if there is none, from its state.
#pragma once

#include "base/json.hpp"
#include "base/units.hpp"

#include <optional>
#include <string>

namespace zl {

struct ShipStatus {
    bool running = false;
    /// starting, waiting (no database yet), restoring, blocked (the database is locked by another),
    /// streaming, snapshot, retrying (the cache cannot be written, or the store takes nothing),
    /// backpressure (the cache is full: the WAL is the spool), gap (reading was
    /// given up to save the disk), fenced, failed, draining, stopped
    std::string state = "stopped";
    std::string database, name, store, generation, writer;
    bool conditional = true;               ///< a second writer is prevented, not only detected
    std::uint64_t captured_sequence = 0;   ///< in the cache
    std::uint64_t durable_sequence = 0;    ///< confirmed by the store
    std::optional<TimePoint> durable_time; ///< everything committed by then can be restored
    std::uint64_t pending_segments = 0, pending_bytes = 0;
    std::uint64_t wal_frames = 0;         ///< in the live WAL
    std::uint64_t wal_frames_pending = 0; ///< of those, not yet captured
    std::uint64_t wal_bytes = 0;
    std::uint64_t page_size = 0, page_count = 0;
    std::optional<TimePoint> last_snapshot_time;
    std::uint64_t last_snapshot_sequence = 0;
    std::optional<TimePoint> last_wal_sync; ///< last confirmation by the store
    std::uint64_t failed_uploads = 0;       ///< since the start
    std::uint64_t resyncs = 0;              ///< since the start
    std::optional<TimePoint> gap_from; ///< moments from here on are lost until the next segment
    /// 0 when everything committed is in the store and can be restored; else the age of the oldest
    /// that is not, or how long the capture thread has not said anything.
    Millis lag{0};
    std::string last_error;
    std::optional<TimePoint> started;
};

Json to_json(const ShipStatus& status);
/// Throws data.
ShipStatus status_from_json(const Json& json);
/// Lines for people.
std::string describe(const ShipStatus& status);

} // namespace zl
