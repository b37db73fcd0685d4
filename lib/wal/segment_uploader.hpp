/// Sends the queue to the store, in order, one segment after the other, and finds out when somebody
/// else writes under the same name.
///
/// States of a queued segment and what is durable there:
///   queued      file and row; never sent
///   attempted   the same, and that a PUT may have reached the store: frozen
///   in store    the object exists; the row does not say so yet. A kill here: the next PUT of it
///               gets 412, the object's header has our id: acknowledged without sending again
///   acknowledged  the row is in the catalogue; the file is removed (or at the next opening)
#pragma once

#include "base/file.hpp"
#include "base/report.hpp"
#include "wal/replica_head.hpp"
#include "wal/ship_state.hpp"

#include <chrono>
#include <functional>
#include <stop_token>

namespace zl {

class SegmentUploader {
public:
    struct Options {
        /// The store really has conditional creation. Otherwise each segment is proved by reading
        /// it and the one before it back, and a second writer is detected rather than prevented.
        bool conditional = true;
        /// W7: the head is looked at before a PUT that comes longer than this after the last
        /// confirmed one, by @p boot_clock (which goes on while the machine sleeps).
        std::chrono::milliseconds recheck_head{60000};
        std::function<std::chrono::milliseconds()> boot_clock; ///< empty: CLOCK_BOOTTIME
    };
    SegmentUploader(ObjectStore& store, const ReplicaKeys& keys, ShipState& state, Options options,
                    Log& log);

    /// The head was just read and is ours (start-up, take-over).
    void head_confirmed();
    /// Sends the oldest queued segment if its sequence is at most @p up_to. false: nothing to send.
    /// Throws fenced (76: `app belongs to HOST since TIME`, with a hint) when that number exists
    /// and is not ours, or the head is another's; data when the replica lost what it had confirmed,
    /// or the queued file is not what was captured (checked before it is sent); transient, denied,
    /// io, ...: nothing lost, call again. Crash points: ship.attempted (nothing sent yet),
    /// ship.stored.
    bool send_next(std::uint64_t up_to);

private:
    void check_head(const QueuedSegment& next);
    bool is_stored(const QueuedSegment& segment, const std::string& key);
    UniqueFd open_queued(const QueuedSegment& segment, const std::string& path);
    void put(const QueuedSegment& segment, const std::string& key);
    void check_written(const QueuedSegment& segment);
    void check_previous(const QueuedSegment& segment);
    ObjectStore& store_;
    const ReplicaKeys& keys_;
    ShipState& state_;
    Options options_;
    Log& log_;
    std::optional<std::chrono::milliseconds> confirmed_at_;
};

} // namespace zl
