/// The capture thread while nothing gets through, or too slowly (W8): when capturing is held back,
/// and when the WAL is let go so that the disk does not fill.
#include "base/error.hpp"
#include "wal/replicator_impl.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr std::uint64_t kLittle = 4 << 20; ///< to let go of so little makes no room
constexpr Millis kStalled{500};
constexpr Millis kLetGoFor{1000}; ///< at least
constexpr Millis kSlowStore{std::chrono::minutes(1)};

} // namespace

/// Nothing gets through that would free what we keep.
bool Replicator::Impl::is_outage() {
    return !store_works || (!is_settled && head_unknown) ||
           (!snapshot_works && upload_limit() != UINT64_MAX);
}

/// What may become an outage: requests are retried for long before they count as failed.
bool Replicator::Impl::is_sending_for_long() const {
    const Steady::time_point since = sending_since;
    return since != Steady::time_point{} && Steady::now() > since + kStalled;
}

/// The file system of the database or the cache runs full, and what we keep is a part of it. One
/// that is just always nearly full is no reason to stop while the store works, however slowly (a
/// long request, a first snapshot): then it counts only that it will be full before we look again.
bool Replicator::Impl::disk_is_low(std::uint64_t ours) {
    const auto left = std::max(db_disk.left(capture->db().path()), // both: they are samples
                               cache_disk.left(options.cache_dir));
    if (left == DiskMargin::Left::enough || ours < kLittle)
        return false;
    return is_outage() || (left == DiskMargin::Left::none &&
                           (is_sending_for_long() || !is_settled || upload_limit() != UINT64_MAX));
}

std::uint64_t Replicator::Impl::pending_wal() {
    const auto& at = capture->position();
    // Without a position all of it is kept, for the generation to come or the comparison.
    const std::uint64_t frames = at && at->wal
                                     ? capture->pending_frames().value_or(0)
                                     : capture->db().index().value_or(WalIndex{}).max_frame;
    return frames * (kWalFrameHeaderSize + std::uint64_t{capture->db().page_size()});
}

bool Replicator::Impl::hold_back() {
    if (!capture->db().reading())
        return true; // let go of already
    const std::uint64_t cached = state.queue_size().bytes, wal = pending_wal();
    const bool disk_low = disk_is_low(cached + wal);
    const bool full = is_settled && cached >= options.max_cache_size;
    if (is_settled && !full && !disk_low) {
        held_back_since.reset();
        return false;
    }
    if (!held_back_since)
        held_back_since = Steady::now();
    if (full || disk_low)
        monitor.update([](ShipStatus& s) { s.state = "backpressure"; });
    // A store that works will have taken the cache soon; one that is slower than the commits for
    // long is as bad as none.
    // The first snapshot of a generation must come first, however slowly.
    const bool slow = Steady::now() > *held_back_since + kSlowStore && upload_limit() == UINT64_MAX;
    const bool too_large = options.max_wal && wal > *options.max_wal && (slow || is_outage());
    if (!one_shot && options.max_wal && (too_large || disk_low))
        let_go(cached + wal);
    return true;
}

void Replicator::Impl::let_go(std::uint64_t waiting) {
    view_cancel = true; // a snapshot under way fails its checksum, or at its next read
    end_look();
    const std::string why = !store_works || !is_settled ? "the store cannot be reached"
                            : is_outage()               ? "a snapshot cannot be stored"
                                                        : "the store is slower than the commits";
    const auto position = state.position();
    if (position) {
        gap_from = position->time;
        try {
            Lineage::begin_gap(state, *gap_from);
        } catch (const Error& e) { // on a full disk, which is what it is about
            log.warn(std::string("the gap is not noted for the next run: ") + e.what());
        }
        if (!uncaptured_since)
            uncaptured_since = gap_from;
    }
    capture->db().end_read();
    is_settled = false;
    held_back_since.reset();
    next_look = Steady::now() + kLetGoFor;
    const std::string what = why + ", " + format_size(waiting) +
                             " wait in the WAL and the cache: letting go of it so that the disk "
                             "does not fill";
    if (position)
        log.write(gap_told == gap_from ? LogLevel::info : LogLevel::warning,
                  what + ". Moments from " + format_rfc3339(*gap_from) +
                      " on are lost until the store is back");
    else
        log.info(what); // a snapshot is to come first, so nothing is lost
    gap_told = gap_from;
}

/// The store works, and there is room for the latest state. That is one segment, marked with the
/// gap; unless nobody restarted the WAL meanwhile, then nothing is lost.
bool Replicator::Impl::gap_may_end() {
    if (!upload_thread.joinable()) // start(): the head will tell
        return true;
    if (!store_works || is_sending_for_long())
        return false;
    // What waits behind a claim without a snapshot waits for us: the snapshot needs the read lock,
    // and is tried again at its own pace.
    if (upload_limit() != UINT64_MAX)
        return is_view_wanted();
    return state.queue_size().bytes <= options.max_cache_size / 2;
}

} // namespace zl
