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
constexpr Millis kLookAgain{3000}; ///< at the head of the replica, while it is not known
constexpr Millis kPlaceEvery{1000};
constexpr Millis kOutageInterval{10000}; ///< a segment at most so often while nothing gets through
constexpr std::uint64_t kEagerBytes = 1 << 20;
constexpr std::uint64_t kCheckpointBytes = 4 << 20;
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
    if (!capture || !is_settled || !is_view_wanted())
        return;
    make_viewable();
    std::lock_guard lock(handover);
    if (!view_wanted || !is_settled)
        return;
    try {
        view_cancel = false;
        auto view = capture->view(&view_cancel);
        view_in_use = view.has_value();
        if (view_in_use)
            snapshot_works = true; // until it fails: else the lock would be let go of at once
        view_wanted->set_value(std::move(view));
    } catch (...) {
        view_wanted->set_exception(std::current_exception());
    }
    view_wanted.reset();
}

bool Replicator::Impl::is_view_wanted() {
    std::lock_guard lock(handover);
    return view_wanted.has_value();
}

/// The first snapshot of a generation is not held back with the rest, for a full cache waits for
/// it: without it nothing else is sent. That adds to the cache what was in the WAL.
void Replicator::Impl::make_viewable() {
    std::string reason;
    while (upload_limit() != UINT64_MAX && !capture->has_view()) {
        const Capture::Step step = capture->step(reason);
        if (step == Capture::Step::nothing)
            return;
        if (step == Capture::Step::lost)
            return lost(reason);
        changed();
    }
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
