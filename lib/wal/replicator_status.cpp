/// What the capture thread lets others see of the replicator.
#include "wal/replicator_impl.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr Millis kPublishEvery{5000}; ///< without news

} // namespace

/// Something that the status shows, or that another thread may wait for.
void Replicator::Impl::changed() {
    ++changes;
    monitor.notify();
}

void Replicator::Impl::publish(bool always) {
    published_at = Steady::now();
    // The state is asked only when there is news: an idle shipper costs next to nothing.
    const auto pending_now = capture ? capture->pending_frames() : std::nullopt;
    if (!always && changes == published && pending_now == 0U && Steady::now() < next_publish)
        return;
    published = changes;
    next_publish = Steady::now() + kPublishEvery;
    const auto queue = state.queue_size();
    const QueuedSegment last = state.acknowledged();
    // Without its snapshot nothing of a generation can be restored, from its claim on.
    const bool only_claimed = last.sequence >= upload_limit(), outage = is_outage();
    const TimePoint now = clock.now();
    const auto position = capture ? capture->position() : std::nullopt;
    const auto& pending = pending_now;
    monitor.update([&](ShipStatus& s) {
        s.conditional = conditional;
        s.captured_sequence = state.newest().sequence;
        s.durable_sequence = last.sequence;
        if (last.sequence > 0 && !only_claimed)
            s.durable_time = last.time;
        s.pending_segments = queue.segments;
        s.pending_bytes = queue.bytes;
        s.gap_from = gap_from;
        s.wal_frames_pending = pending.value_or(capture && !is_settled ? 1 : 0);
        if (position) {
            s.generation = position->generation;
            s.page_size = position->page_size;
            s.page_count = position->page_count;
        }
        if (capture) {
            s.wal_frames = capture->wal_frames();
            s.wal_bytes = capture->db().wal_size();
            s.resyncs = resyncs_before + lineage->resyncs();
        }
        std::optional<TimePoint> oldest = only_claimed ? last.time : queue.oldest_time;
        if (!oldest && (s.wal_frames_pending > 0 || !is_settled))
            oldest = uncaptured_since;
        s.lag = oldest ? now - *oldest : Millis(0);
        s.lag = std::max(s.lag, Millis(0));
        if (s.state == "draining")
            return;
        if (!capture)
            s.state = "waiting";
        else if (gap_from)
            s.state = "gap";
        else if (queue.bytes >= options.max_cache_size)
            s.state = "backpressure";
        else if (!is_settled)
            s.state = "starting";
        else if (!last_trouble.empty() || outage)
            s.state = "retrying";
        else
            s.state = view_in_use ? "snapshot" : "streaming";
    });
}

} // namespace zl
