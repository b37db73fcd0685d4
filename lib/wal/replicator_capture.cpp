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
    if (!uncaptured_since)
        uncaptured_since = gap_from.value_or(clock.now());
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
    end_look();
    resyncs_before += lineage->resyncs();
    lineage.reset();
    capture.reset();
    is_settled = false;
}

bool Replicator::Impl::settled() {
    if (is_settled)
        return true;
    if (!capture || Steady::now() < next_look || (gap_from && !gap_may_end()))
        return false;
    // Let go of: not taken again before the store answers.
    const bool was_let_go = !capture->db().reading() && (gap_from || !state.position());
    if (!capture->db().reading() && !was_let_go)
        continuity = capture->attach(lost_reason);
    std::optional<Error> unreachable;
    try {
        const std::optional<ReplicaHead> head = look_at_head();
        if (head) {
            if (was_let_go)
                continuity = capture->attach(lost_reason);
            if (gap_from && continuity == Capture::Continuity::lost)
                lost_reason = "an outage of the store outlasted --max-wal";
            gap_from.reset();
            lineage->settle(*head, continuity, lost_reason);
        } else if (Steady::now() < head_asked + kLookAgain) {
            return false;
        }
        head_unknown = !head;
    } catch (const Error& e) {
        end_look();
        next_look = Steady::now() + kLookAgain;
        if (e.kind() != ErrorKind::transient)
            throw;
        unreachable = e;
        head_unknown = true;
    }
    // Without the store: what is committed is captured all the same, if we know where we are. The
    // uploader looks at the head before it sends anything (W7).
    if (head_unknown && (was_let_go || !lineage->settle_offline(continuity, lost_reason))) {
        if (unreachable)
            throw *unreachable;
        return false; // the answer may still come
    }
    end_look();
    is_settled = true;
    head_unknown = false;
    held_back_since.reset();
    return true;
}

/// The head of the replica; nullopt: not yet. The upload thread reads it, and sends nothing from
/// then on to end_look(). Throws what reading it throws.
std::optional<ReplicaHead> Replicator::Impl::look_at_head() {
    if (!upload_thread.joinable()) // start(): nobody else is there yet
        return read_head();
    if (!head_answer.valid()) {
        {
            std::lock_guard lock(handover);
            head_answer = head_wanted.emplace().get_future();
            look_under_way = ++looks;
        }
        head_asked = Steady::now();
        changed();
    }
    if (head_answer.wait_for(Millis(0)) != std::future_status::ready)
        return std::nullopt;
    return head_answer.get();
}

void Replicator::Impl::end_look() {
    {
        std::lock_guard lock(handover);
        head_wanted.reset();
        look_under_way = 0;
    }
    head_answer = {};
    changed();
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
        if (is_settled && !capture->db().reading()) { // a checkpoint could not take it again
            is_settled = false;
            next_look = {};
        }
        const bool held_back = hold_back();
        if (settled() && !held_back) {
            capture_all(flushes_asked > flushes_done);
            if (is_settled)
                maybe_checkpoint();
        }
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
            if (is_settled &&
                (capture->file_was_written_over() || snapshot_differs.exchange(false)))
                lost("the database file was changed outside of its WAL");
            return;
        }
        if (is_settled && !hold_back())
            capture_all(true);
        if (view_in_use) { // a request of the snapshot's may take long: detach() would wait for it
            view_cancel = true;
            next_place = {};
            return;
        }
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
    if (left == DiskMargin::Left::enough || ours < kCheckpointBytes)
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
    const std::string what = why + ", " + format_size(waiting) +
                             " wait in the WAL and the cache: letting go of it so that the disk "
                             "does not fill";
    if (position)
        log.warn(what + ". Moments from " + format_rfc3339(*gap_from) +
                 " on are lost until the store is back");
    else
        log.info(what); // a snapshot is to come first, so nothing is lost
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
    if (upload_limit() != UINT64_MAX) {
        std::lock_guard lock(handover);
        return view_wanted.has_value();
    }
    return state.queue_size().bytes <= options.max_cache_size / 2;
}

/// true: everything that was committed at the call is in the cache. With writers at work there is
/// always something newer, so the goal is set once.
bool Replicator::Impl::capture_all(bool even_if_early) {
    const std::uint64_t asked = flushes_asked;
    if (!capture || !settled())
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
    if (!view_wanted || !capture || !is_settled)
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

Millis Replicator::Impl::time_to_wait() const {
    const Millis idle = watch.works() ? kIdleWait : kBlindWait;
    if (!capture || !is_settled)
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
