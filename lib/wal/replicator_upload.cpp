/// The upload thread: sends what waits in the cache, and looks at the head of the replica for the
/// capture thread.
#include "base/error.hpp"
#include "store/conditional.hpp"
#include "wal/replicator_impl.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr Millis kDeniedFor{std::chrono::minutes(10)}; ///< then refused credentials are final

/// What repeating cannot cure.
bool is_final(const Error& e) {
    return e.kind() == ErrorKind::fenced || e.kind() == ErrorKind::data ||
           e.kind() == ErrorKind::config || e.kind() == ErrorKind::internal ||
           e.kind() == ErrorKind::not_found;
}

/// Once per store and directory.
bool probe_conditional(ObjectStore& store, const ReplicaKeys& keys, ShipState& state) {
    const FactCache cache{[&](const std::string& name) { return state.note("fact:" + name); },
                          [&](const std::string& name, const std::string& value) {
                              state.set_note("fact:" + name, value);
                          }};
    return has_conditional_create(store, keys.prefix(), cache);
}

} // namespace

void Replicator::Impl::pause(std::stop_token stop, Millis time) {
    std::stop_callback wake(stop, [this] { monitor.notify(); });
    monitor.wait_until(Steady::now() + time, [&] { return stop.stop_requested(); });
}

void Replicator::Impl::upload_loop(std::stop_token stop) {
    SegmentUploader::Options how;
    Millis wait = kFirstPause;
    std::optional<Steady::time_point> denied_since;
    while (!stop.stop_requested()) {
        try {
            const std::uint64_t seen = changes;
            if (look_under_way != 0) {
                answer_look(stop);
                continue;
            }
            if (!has_sendable()) {
                monitor.wait_until(Steady::now() + kLookEvery,
                                   [&] { return stop.stop_requested() || changes != seen; });
                continue;
            }
            if (!uploader) {
                conditional = how.conditional = probe_conditional();
                uploader = std::make_unique<SegmentUploader>(store, keys, state, how, log);
            }
            sending_since = Steady::now();
            while (!stop.stop_requested() && look_under_way == 0 && send_one()) {
                sending_since = Steady::now();
                monitor.update([&](ShipStatus& s) {
                    s.last_wal_sync = now_wall();
                    if (!store_works)
                        s.last_error.clear();
                });
                if (!store_works)
                    log.info("upload: the store takes segments again");
                store_works = true;
                denied_since.reset();
                wait = kFirstPause;
                changed();
                if (drained_out || one_shot || flushes_asked > 0)
                    watch.wake();
            }
            sending_since = Steady::time_point{};
            store_works = true;
            wait = kFirstPause;
        } catch (const Interrupted&) {
            return;
        } catch (const Error& e) {
            const bool news = store_works.exchange(false);
            if (e.kind() == ErrorKind::denied && !denied_since)
                denied_since = Steady::now();
            const bool refused = denied_since && Steady::now() - *denied_since > kDeniedFor;
            monitor.update([&](ShipStatus& s) {
                ++s.failed_uploads;
                s.last_error = e.what();
                if (is_final(e) || refused)
                    s.state = e.kind() == ErrorKind::fenced ? "fenced" : "failed";
            });
            if (is_final(e) || refused || one_shot) {
                monitor.fail(std::current_exception());
                watch.wake();
                return;
            }
            // Once an outage, not at every try.
            log.write(news ? LogLevel::warning : LogLevel::info,
                      std::string("upload: ") + e.what());
            changed();
            pause(stop, wait);
            wait = std::min(wait * 2, kLongestPause);
        } catch (...) {
            monitor.fail(std::current_exception());
            watch.wake();
            return;
        }
    }
}

bool Replicator::Impl::send_one() {
    std::lock_guard lock(head_mutex);
    return uploader->send_next(upload_limit());
}

/// For the capture thread, which then settles what it means: nothing moves meanwhile.
void Replicator::Impl::answer_look(std::stop_token stop) {
    std::lock_guard in_order(head_mutex);
    std::optional<std::promise<ReplicaHead>> asked;
    std::uint64_t number = 0;
    {
        std::lock_guard lock(handover);
        asked.swap(head_wanted);
        number = look_under_way;
    }
    if (!asked)
        return;
    try {
        asked->set_value(read_head());
    } catch (...) {
        asked->set_exception(std::current_exception());
    }
    watch.wake();
    std::stop_callback wake(stop, [this] { monitor.notify(); });
    const auto over = [&] { return look_under_way != number || stop.stop_requested(); };
    while (!monitor.wait_until(Steady::now() + kLookEvery, over)) {
    }
}

ReplicaHead Replicator::Impl::read_head() {
    ReplicaHead head = read_replica_head(store, keys, state.acknowledged().sequence);
    std::lock_guard lock(metadata_mutex);
    metadata = head.metadata;
    return head;
}

bool Replicator::Impl::probe_conditional() {
    const bool there = zl::probe_conditional(store, keys, state);
    if (!there)
        log.warn("the store has no conditional writes: a second writer of " + options.name +
                 " is detected, not prevented");
    return there;
}

bool Replicator::Impl::has_sendable() {
    auto oldest = state.oldest();
    return oldest && oldest->sequence <= upload_limit();
}

std::uint64_t Replicator::Impl::upload_limit() {
    return Lineage::upload_limit(state);
}

void ship_leftovers(ObjectStore& store, const ReplicaKeys& keys, const std::string& cache_dir,
                    Log& log, std::stop_token stop) {
    if (!path_exists(cache_dir + "/state.db"))
        return;
    ShipState state(cache_dir);
    // What follows a claim without a snapshot cannot be restored, and must not be sent.
    const std::uint64_t limit = Lineage::upload_limit(state);
    auto next = state.oldest();
    if (!next || next->sequence > limit)
        return;
    log.info("sending " + std::to_string(state.queue_size().segments) + " segments that wait in " +
             cache_dir + " before the restore");
    SegmentUploader::Options how;
    how.conditional = probe_conditional(store, keys, state);
    SegmentUploader uploader(store, keys, state, how, log);
    while (uploader.send_next(limit))
        if (stop.stop_requested())
            throw Interrupted();
}

} // namespace zl
