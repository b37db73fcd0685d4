#include "base/error.hpp"
#include "wal/replicator_impl.hpp"

namespace zl {

namespace {

/// A capture thread that is well says something once a second.
constexpr Millis kSilent{3000};

} // namespace

Replicator::Impl::Impl(ObjectStore& store_, ReplicaKeys keys_, ReplicatorOptions options_,
                       Log& log_)
    : store(store_), keys(std::move(keys_)), options(std::move(options_)), log(log_),
      state(options.cache_dir), gap_from(Lineage::gap(state)) {
    monitor.update([&](ShipStatus& s) {
        s.running = true;
        s.state = "starting";
        s.database = options.database;
        s.name = options.name;
        s.store = options.store_url;
        s.writer = state.writer();
        s.started = now_wall();
    });
}

Replicator::Impl::~Impl() {
    abandoned = true;
    if (options.break_off)
        options.break_off();
    stop_threads();
}

void Replicator::Impl::start() {
    // The directory belongs to one replica: its numbers and hashes mean nothing to another.
    const std::string replica = store.identity() + " " + keys.prefix();
    if (auto known = state.note("replica"); known && *known != replica)
        throw Error(ErrorKind::config,
                    options.cache_dir + " belongs to the replica " + *known + ", not to " + replica,
                    "use another --cache-dir, or move this one aside: the new replica begins with "
                    "a snapshot");
    state.set_note("replica", replica);
    if (has_wal_reset_bug())
        log.info("this SQLite has the WAL-reset bug (https://sqlite.org/wal.html): our checkpoints "
                 "keep clear of it, those of other programs may not");
    attach();
    try {
        settled();
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::transient)
            throw;
        trouble("the store cannot be reached yet, commits wait in the WAL", e);
    }
    publish();
}

void Replicator::Impl::start_threads() {
    upload_thread = std::jthread([this](std::stop_token stop) { upload_loop(stop); });
    keep_thread = std::jthread([this](std::stop_token stop) { keep_loop(stop); });
}

void Replicator::Impl::stop_threads() {
    view_cancel = true;
    upload_thread.request_stop();
    keep_thread.request_stop();
    {
        std::lock_guard lock(handover);
        if (view_wanted)
            view_wanted->set_value(std::nullopt);
        view_wanted.reset();
    }
    monitor.notify();
    if (upload_thread.joinable())
        upload_thread.join();
    if (keep_thread.joinable())
        keep_thread.join();
}

void Replicator::Impl::rethrow_failure() {
    if (auto failure = monitor.failure())
        std::rethrow_exception(failure);
}

bool Replicator::Impl::run(std::stop_token stop) {
    std::stop_callback wake(stop, [this] { watch.wake(); });
    start_threads();
    while (!stop.stop_requested() && !monitor.failure()) {
        tick();
        if (watch.wait(time_to_wait()) == ChangeWatch::Woken::changed)
            last_write = Steady::now();
    }
    monitor.update([](ShipStatus& s) { s.state = "draining"; });
    bool drained = false;
    if (!monitor.failure())
        drained = drain({}, Steady::now() + options.drain_timeout);
    drained_out = true;
    published_at = Steady::time_point{};
    if (options.break_off && !drained)
        options.break_off();
    stop_threads();
    if (drained) {
        try {
            write_metadata(true);
        } catch (const Error& e) {
            if (e.kind() == ErrorKind::fenced)
                monitor.fail(std::current_exception());
            log.warn(std::string("all segments are stored, but metadata.json could not be "
                                 "written: ") +
                     e.what());
        }
    }
    detach("stopped");
    ended = true; // for those who wait in flush()
    monitor.notify();
    rethrow_failure();
    return drained;
}

/// Everything that was committed at the call into the cache, and from there into the store.
bool Replicator::Impl::drain(std::stop_token stop, std::optional<Steady::time_point> deadline) {
    auto over = [&] {
        return abandoned || stop.stop_requested() || monitor.failure() ||
               (deadline && Steady::now() >= *deadline);
    };
    bool captured = false;
    for (;;) {
        look_at_place();
        if (!capture) // deleted: what was committed into it is captured already
            captured = true;
        if (!captured)
            captured = capture_all(true);
        serve_view();
        publish();
        // Without a snapshot nothing can be restored.
        if (captured && state.acknowledged().sequence >= state_target() &&
            upload_limit() == UINT64_MAX)
            return true;
        if (over())
            return false;
        monitor.wait_until(Steady::now() + Millis(20), [] { return false; });
    }
}

/// The last segment that a drain waits for.
std::uint64_t Replicator::Impl::state_target() {
    return capture ? flush_target.load() : state.newest().sequence;
}

void Replicator::Impl::once(std::stop_token stop) {
    std::stop_callback wake(stop, [this] { monitor.notify(); });
    one_shot = true;
    start_threads();
    const bool drained = drain(stop, {});
    if (drained && !monitor.failure()) {
        // A snapshot that is due is part of the run: nobody else would make it.
        while (snapshot_due() && !stop.stop_requested() && !monitor.failure()) {
            serve_view();
            monitor.wait_until(Steady::now() + Millis(20), [] { return false; });
        }
        // Nor would anybody else merge and delete.
        kept_up = false;
        changed();
        while (!kept_up && !stop.stop_requested() && !monitor.failure())
            monitor.wait_until(Steady::now() + Millis(100),
                               [&] { return kept_up || stop.stop_requested(); });
    }
    if (options.break_off && !drained)
        options.break_off();
    stop_threads();
    rethrow_failure();
    if (!drained)
        throw Interrupted();
    write_metadata(false);
    detach("done");
}

void Replicator::Impl::flush(Millis timeout) {
    const std::uint64_t ticket = ++flushes_asked;
    watch.wake();
    const auto deadline = Steady::now() + timeout;
    auto done = [&] {
        return monitor_failed() ||
               (flushes_done >= ticket && state.acknowledged().sequence >= flush_target &&
                upload_limit() == UINT64_MAX);
    };
    while (Steady::now() < deadline && !ended) {
        if (done()) {
            rethrow_failure();
            return;
        }
        monitor.wait_until(std::min(deadline, Steady::now() + Millis(100)), [] { return false; });
    }
    if (ended)
        throw Error(ErrorKind::transient, "the shipper ended before everything was in the store",
                    "what is left is shipped by the next run");
    throw Error(ErrorKind::transient,
                "not everything is in the store yet after " + format_duration(timeout),
                "it goes on in the background: see zl-walship --status");
}

bool Replicator::Impl::monitor_failed() const {
    return monitor.failure() != nullptr;
}

/// What it says of the capture thread is as of then: when that hangs, it is the lag that shows it.
ShipStatus Replicator::Impl::status() const {
    ShipStatus s = monitor.get();
    const Steady::time_point last = published_at;
    const auto silent = std::chrono::duration_cast<Millis>(Steady::now() - last);
    if (last != Steady::time_point{} && silent > kSilent)
        s.lag += silent;
    return s;
}

Replicator::Replicator(ObjectStore& store, ReplicaKeys keys, ReplicatorOptions options, Log& log)
    : impl_(std::make_unique<Impl>(store, std::move(keys), std::move(options), log)) {}
Replicator::~Replicator() = default;
void Replicator::start() {
    impl_->start();
}
bool Replicator::run(std::stop_token stop) {
    return impl_->run(std::move(stop));
}
void Replicator::abandon() {
    impl_->abandoned = true;
    if (impl_->options.break_off)
        impl_->options.break_off();
    impl_->monitor.notify();
}
void Replicator::flush(Millis timeout) {
    impl_->flush(timeout);
}
void Replicator::once(std::stop_token stop) {
    impl_->once(std::move(stop));
}
ShipStatus Replicator::status() const {
    return impl_->status();
}

std::optional<ShipStatus> stopped_status(const std::string& cache_dir) {
    try {
        ShipState state(cache_dir, ShipState::Access::look);
        ShipStatus s;
        s.writer = state.writer();
        if (auto at = state.position()) {
            s.generation = at->generation;
            s.page_size = at->page_size;
            s.page_count = at->page_count;
        }
        s.captured_sequence = state.newest().sequence;
        const QueuedSegment last = state.acknowledged();
        s.durable_sequence = last.sequence;
        if (last.sequence > 0)
            s.durable_time = last.time;
        s.gap_from = Lineage::gap(state);
        const auto queue = state.queue_size();
        s.pending_segments = queue.segments;
        s.pending_bytes = queue.bytes;
        if (queue.oldest_time)
            s.lag = now_wall() - *queue.oldest_time;
        for (const CatalogueEntry& e : state.entries(CatalogueEntry::Kind::snapshot)) {
            s.last_snapshot_time = e.time;
            s.last_snapshot_sequence = e.range.last;
        }
        return s;
    } catch (const Error& e) {
        if (e.kind() == ErrorKind::not_found)
            return std::nullopt;
        throw;
    }
}

} // namespace zl
