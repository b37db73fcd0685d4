#include "base/error.hpp"
#include "wal/replicator_impl.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr Millis kIdleWait{1000};
constexpr Millis kBlindWait{100}; ///< where file events do not work
// A write into the WAL is seen before its commit is: look often for a while, then less.
constexpr Millis kHotWait{2}, kWarmWait{20};
constexpr Millis kHotFor{50}, kWarmFor{2000};
constexpr Millis kPublishEvery{5000}; ///< without news
constexpr Millis kLookAgain{3000};    ///< at the head of the replica, while it is not known
constexpr Millis kPlaceEvery{1000};
constexpr Millis kOutageInterval{10000}; ///< a segment at most so often while nothing gets through
constexpr std::uint64_t kEagerBytes = 1 << 20;
constexpr std::uint64_t kCheckpointBytes = 4 << 20;
constexpr Millis kStalled{500};
constexpr Millis kSlowStore{std::chrono::minutes(1)};
constexpr Millis kMaxCheckpointBackoff{10000};

const char* to_text(Capture::Checkpoint outcome) {
    switch (outcome) {
    case Capture::Checkpoint::complete:
        return "complete";
    case Capture::Checkpoint::partial:
        return "partial, a reader holds it back";
    case Capture::Checkpoint::busy:
        return "busy";
    case Capture::Checkpoint::lost:
        return "continuity lost";
    }
    return "?";
}

} // namespace

void Replicator::Impl::attach() {
    capture = std::make_unique<Capture>(
        std::make_unique<LiveDb>(options.database, LiveDb::Options{options.enable_wal}), state,
        clock, log, options.level);
    lineage = std::make_unique<Lineage>(
        *capture, state, Lineage::Options{options.name, options.host, options.take_over}, log);
    lost_reason.clear();
    continuity = capture->attach(lost_reason);
    is_settled = false;
    if (gap_from) // the outage goes on: this file's WAL is not to be kept either
        capture->db().end_read();
    watch.watch(capture->db().path() + "-wal");
    next_place = Steady::now() + kPlaceEvery;
}

void Replicator::Impl::detach(const std::string& why) {
    if (!capture)
        return;
    log.info("letting go of " + capture->db().path() + ": " + why);
    view_cancel = true;
    while (view_in_use) // its pages are read through our descriptors
        monitor.wait_until(Steady::now() + Millis(20), [] { return false; });
    resyncs_before += lineage->resyncs();
    lineage.reset();
    capture.reset();
    is_settled = false;
}

bool Replicator::Impl::settled() {
    if (is_settled)
        return true;
    if (!capture || gap_from || Steady::now() < next_look)
        return false;
    next_look = Steady::now() + kLookAgain;
    // Let go of while there was nothing to go on from: not taken again before the store answers.
    const bool let_go = !capture->db().reading() && !state.position();
    if (!capture->db().reading() && !let_go)
        continuity = capture->attach(lost_reason);
    std::optional<Error> unreachable;
    std::lock_guard one_at_a_time(lineage_mutex);
    try {
        const ReplicaHead head = read_replica_head(store, keys);
        if (let_go)
            continuity = capture->attach(lost_reason);
        lineage->settle(head, continuity, lost_reason);
        std::lock_guard lock(metadata_mutex);
        metadata = head.metadata;
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::transient)
            throw;
        unreachable = e;
    }
    // Without the store: what is committed is captured all the same, if we know where we are. The
    // uploader looks at the head before it sends anything (W7).
    if (unreachable && (let_go || !lineage->settle_offline(continuity, lost_reason))) {
        // Nothing is lost by letting go: the first thing to be shipped is a snapshot.
        if (wal_is_too_large())
            capture->db().end_read();
        throw *unreachable;
    }
    is_settled = true;
    changed();
    return true;
}

void Replicator::Impl::trouble(const std::string& what, const Error& error) {
    const std::string text = what + ": " + error.what();
    if (text != last_trouble) // once, not every second
        log.warn(text);
    last_trouble = text;
    monitor.update([&](ShipStatus& s) { s.last_error = text; });
}

void Replicator::Impl::tick() {
    try {
        if (flushes_asked > flushes_done)
            next_place = {}; // what is flushed must be what is at the path
        look_at_place();
        if (!capture)
            return publish();
        if (gap_from)
            end_gap();
        else if (is_settled && !capture->db().reading()) { // a checkpoint could not take it again
            is_settled = false;
            next_look = {};
        }
        if (!gap_from && settled() && !hold_back()) {
            capture_all(flushes_asked > flushes_done);
            if (!gap_from)
                maybe_checkpoint();
        }
        // Nothing to go on from, and the store does not answer: the WAL is not kept for ever.
        if (!is_settled && !gap_from && !last_trouble.empty() && capture->db().reading() &&
            !state.position() && wal_is_too_large())
            capture->db().end_read();
        serve_view();
        if (is_settled && !last_trouble.empty()) {
            last_trouble.clear();
            monitor.update([](ShipStatus& s) { s.last_error.clear(); });
            changed();
        }
    } catch (const Error& e) {
        if (e.kind() == ErrorKind::fenced || e.kind() == ErrorKind::data ||
            e.kind() == ErrorKind::internal)
            monitor.fail(std::current_exception());
        trouble("capture", e);
    }
    publish();
}

/// The file may be deleted, replaced, or come back. What was committed into the old one is still in
/// our descriptors: it is captured before they are closed.
void Replicator::Impl::look_at_place() {
    if (Steady::now() < next_place)
        return;
    next_place = Steady::now() + kPlaceEvery;
    if (capture) {
        const LiveDb::Place place = capture->db().place();
        if (place == LiveDb::Place::same) {
            if (is_settled && !gap_from &&
                (capture->file_was_written_over() || snapshot_differs.exchange(false)))
                lost("the database file was changed outside of its WAL");
            return;
        }
        if (!gap_from && is_settled && !hold_back())
            capture_all(true);
        detach(place == LiveDb::Place::absent ? "deleted"
                                              : "the file, its -wal or its -shm was replaced");
    }
    try {
        attach();
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::not_found && e.kind() != ErrorKind::transient &&
            e.kind() != ErrorKind::usage)
            throw;
        monitor.update([](ShipStatus& s) { s.state = "waiting"; });
        trouble("the database cannot be read", e);
    }
}

/// An outage, or what may become one: requests are retried for long before they count as failed,
/// and the disk may be full by then.
bool Replicator::Impl::nothing_gets_through() const {
    const Steady::time_point since = sending_since;
    return !store_works || (since != Steady::time_point{} && Steady::now() > since + kStalled);
}

/// The file system of the database or the cache runs full, and what we keep is a part of it. One
/// that is just always nearly full is no reason to stop while the store works, however slowly: then
/// it counts only that it will be full before we look again.
bool Replicator::Impl::disk_is_low(std::uint64_t ours, bool outage) {
    const auto left = std::max(db_disk.left(capture->db().path()), // both: they are samples
                               cache_disk.left(options.cache_dir));
    if (left == DiskMargin::Left::enough || ours < kCheckpointBytes)
        return false;
    return outage || (left == DiskMargin::Left::none && nothing_gets_through());
}

std::uint64_t Replicator::Impl::pending_wal() {
    return capture->pending_frames().value_or(0) *
           (kWalFrameHeaderSize + std::uint64_t{capture->db().page_size()});
}

/// While there is no position to capture from, and no store to begin with.
bool Replicator::Impl::wal_is_too_large() {
    const std::uint64_t wal = capture->db().wal_size();
    return options.max_wal && (wal > *options.max_wal || disk_is_low(wal, true));
}

bool Replicator::Impl::hold_back() {
    if (gap_from)
        return true;
    const std::uint64_t cached = state.queue_size().bytes, wal = pending_wal();
    const bool disk_low = disk_is_low(cached + wal, !store_works);
    if (cached < options.max_cache_size && !disk_low) {
        held_back_since.reset();
        return false;
    }
    if (!held_back_since)
        held_back_since = Steady::now();
    monitor.update([](ShipStatus& s) { s.state = "backpressure"; });
    // A store that works will have taken the cache soon; one that is slower than the commits for
    // long is as bad as none.
    // The first snapshot of a generation must come first, however slowly.
    const bool slow = Steady::now() > *held_back_since + kSlowStore && upload_limit() == UINT64_MAX;
    if (one_shot || !(slow || !store_works || disk_low) || !options.max_wal ||
        (wal <= *options.max_wal && !disk_low))
        return true;
    view_cancel = true; // a snapshot under way fails its checksum, or at its next read
    gap_from = capture->position() ? capture->position()->time : clock.now();
    capture->db().end_read();
    log.warn(std::string(store_works ? "the store is slower than the commits"
                                     : "the store cannot be reached") +
             " and the WAL grew to " + format_size(wal) +
             ": letting go of it so that the disk does not fill. Moments from " +
             format_rfc3339(*gap_from) + " on are lost until the store is back");
    return true;
}

/// After the outage: the latest state in one segment, marked with the gap; unless nobody restarted
/// the WAL meanwhile, then nothing is lost.
void Replicator::Impl::end_gap() {
    monitor.update([](ShipStatus& s) { s.state = "gap"; });
    // What waits behind a claim without a snapshot waits for us: the snapshot needs the read lock.
    const bool needs_snapshot = upload_limit() != UINT64_MAX;
    if (nothing_gets_through() ||
        (!needs_snapshot && state.queue_size().bytes > options.max_cache_size / 2))
        return;
    continuity = capture->attach(lost_reason);
    if (continuity == Capture::Continuity::lost)
        lost_reason = "an outage of the store outlasted --max-wal";
    lineage->after_gap(gap_from);
    gap_from.reset();
    held_back_since.reset();
    is_settled = false;
    next_look = {};
}

/// true: everything that was committed at the call is in the cache. With writers at work there is
/// always something newer, so the goal is set once.
bool Replicator::Impl::capture_all(bool even_if_early) {
    const std::uint64_t asked = flushes_asked;
    if (!capture || !settled() || gap_from)
        return false;
    const auto goal = capture->committed();
    const auto pending = capture->pending_frames();
    if (pending.value_or(1) > 0 && !uncaptured_since)
        uncaptured_since = clock.now();
    const Millis interval =
        store_works ? options.sync_interval : std::max(options.sync_interval, kOutageInterval);
    const bool early = Steady::now() < last_capture + interval &&
                       pending.value_or(0) * capture->db().page_size() < kEagerBytes;
    if (early && !even_if_early)
        return false;
    std::string reason;
    bool reached = false;
    while (!(reached = goal && capture->reached(*goal))) {
        const std::uint64_t cached = state.queue_size().bytes;
        const std::uint64_t room =
            cached < options.max_cache_size ? options.max_cache_size - cached : 0;
        const Capture::Step step = capture->step(reason, std::max(room, kEagerBytes));
        if (step == Capture::Step::lost)
            lost(reason);
        if (step == Capture::Step::nothing)
            break;
        last_capture = Steady::now();
        changed();
        if (hold_back())
            break;
    }
    uncaptured_since.reset();
    if (capture->pending_frames().value_or(1) > 0)
        uncaptured_since = clock.now();
    if (reached) {
        flush_target = state.newest().sequence;
        flushes_done = asked;
    }
    return reached;
}

void Replicator::Impl::lost(const std::string& reason) {
    std::lock_guard one_at_a_time(lineage_mutex);
    lineage->resync(reason);
    changed();
}

void Replicator::Impl::maybe_checkpoint() {
    const std::uint64_t bytes = capture->since_checkpoint() * capture->db().page_size();
    if (bytes < kCheckpointBytes || view_in_use || Steady::now() < next_checkpoint)
        return;
    std::string reason;
    const auto outcome = capture->checkpoint(reason);
    log.debug("checkpoint: " + std::string(to_text(outcome)));
    switch (outcome) {
    case Capture::Checkpoint::lost:
        return lost(reason);
    case Capture::Checkpoint::complete:
        checkpoint_backoff = Millis(250);
        break;
    case Capture::Checkpoint::busy:
        checkpoint_backoff = Millis(50);
        break;
    case Capture::Checkpoint::partial: // a long reader: pressing on would only cost
        checkpoint_backoff = std::min(checkpoint_backoff * 2, kMaxCheckpointBackoff);
        break;
    }
    next_checkpoint = Steady::now() + checkpoint_backoff;
    changed();
}

/// The keep thread asked for the state at the position.
void Replicator::Impl::serve_view() {
    std::lock_guard lock(handover);
    if (!view_wanted || !capture || !is_settled || gap_from)
        return;
    try {
        view_cancel = false;
        auto view = capture->view(&view_cancel);
        view_in_use = view.has_value();
        view_wanted->set_value(std::move(view));
    } catch (...) {
        view_wanted->set_exception(std::current_exception());
    }
    view_wanted.reset();
}

/// Something that the status shows, or that another thread may wait for.
void Replicator::Impl::changed() {
    ++changes;
    monitor.notify();
}

void Replicator::Impl::publish(bool always) {
    // The state is asked only when there is news: an idle shipper costs next to nothing.
    const auto pending_now = capture ? capture->pending_frames() : std::nullopt;
    if (!always && changes == published && pending_now == 0U && Steady::now() < next_publish)
        return;
    published = changes;
    next_publish = Steady::now() + kPublishEvery;
    const auto queue = state.queue_size();
    const QueuedSegment last = state.acknowledged();
    const TimePoint now = clock.now();
    const auto position = capture ? capture->position() : std::nullopt;
    const auto& pending = pending_now;
    monitor.update([&](ShipStatus& s) {
        s.conditional = conditional;
        s.captured_sequence = state.newest().sequence;
        s.durable_sequence = last.sequence;
        if (last.sequence > 0)
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
        s.lag = Millis(0);
        if (capture && !is_settled && s.started) // nothing is known to be durable
            s.lag = now - *s.started;
        else if (queue.oldest_time)
            s.lag = now - *queue.oldest_time;
        else if (uncaptured_since && s.wal_frames_pending > 0)
            s.lag = now - *uncaptured_since;
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
        else if (!last_trouble.empty() || !store_works)
            s.state = "retrying";
        else
            s.state = view_in_use ? "snapshot" : "streaming";
    });
}

Millis Replicator::Impl::time_to_wait() const {
    const Millis idle = watch.works() ? kIdleWait : kBlindWait;
    if (!capture || !is_settled || gap_from)
        return Millis(250);
    if (flushes_asked > flushes_done)
        return kHotWait;
    const auto now = Steady::now();
    // Frames wait for the interval to pass.
    if (uncaptured_since) {
        const auto due = last_capture + options.sync_interval;
        const auto left = std::chrono::duration_cast<Millis>(due - now) + Millis(1);
        return std::clamp(left, kHotWait, idle);
    }
    if (now < last_write + kHotFor && options.sync_interval < kHotFor)
        return kHotWait;
    return now < last_write + kWarmFor ? kWarmWait : idle;
}

} // namespace zl
