/// The keep thread: snapshots, metadata.json, merging and retention.
#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "wal/replicator_impl.hpp"
#include "wal/snapshotter.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr const char* kSnapshotMade = "snapshot_made"; // note: wall time of the last one of ours
constexpr Millis kMetadataEvery{std::chrono::minutes(5)};

} // namespace

void Replicator::Impl::keep_loop(std::stop_token stop) {
    ReplicaKeeper::Options how;
    how.retain = options.retain;
    how.fine = options.fine;
    ReplicaKeeper keeper(store, keys, state, how, log);
    const Millis look_every = std::clamp(options.snapshot_interval / 4, Millis(200), kLookEvery);
    Millis wait = kFirstPause;
    bool begun = false;
    while (!stop.stop_requested()) {
        try {
            if (!begun && is_known()) {
                abort_open_uploads(store, state, log);
                keeper.bootstrap();
                take_back_release();
                begun = true;
            }
            const std::uint64_t seen = changes;
            const bool worked = begun && (keep_step(stop) || upkeep_step(keeper, stop));
            wait = kFirstPause;
            if (worked)
                continue;
            kept_up = begun;
            monitor.notify();
            // A busy database is no reason to look more often, but who waits for a snapshot is.
            monitor.wait_until(Steady::now() + look_every, [&] {
                return stop.stop_requested() ||
                       (changes != seen && (!begun || one_shot || upload_limit() != UINT64_MAX));
            });
        } catch (const Interrupted&) {
            return;
        } catch (const Error& e) {
            if (stop.stop_requested())
                return;
            const bool needed = upload_limit() != UINT64_MAX;
            if (needed) // without it nothing can be restored, however much is sent
                snapshot_works = false;
            monitor.update([&](ShipStatus& s) {
                s.failed_uploads += needed;
                s.last_error = e.what();
            });
            changed();
            watch.wake();
            if (one_shot || e.kind() == ErrorKind::fenced) {
                monitor.fail(std::current_exception());
                return watch.wake();
            }
            log.warn(std::string("snapshot and upkeep: ") + e.what());
            pause(stop, wait);
            wait = std::min(wait * 2, kLongestPause);
        } catch (...) {
            monitor.fail(std::current_exception());
            watch.wake();
            return;
        }
    }
}

/// The last run said that it had ended; as long as the store says so, another host may take the
/// name.
void Replicator::Impl::take_back_release() {
    bool released = false;
    {
        std::lock_guard lock(metadata_mutex);
        released = metadata && metadata->released && metadata->writer == state.writer();
    }
    if (released)
        write_metadata(false);
}

/// The replica was looked at and is ours.
bool Replicator::Impl::is_known() {
    return state.acknowledged().sequence > 0 && state.note("generation").has_value();
}

bool Replicator::Impl::keep_step(std::stop_token stop) {
    if (snapshot_due()) {
        take_snapshot(stop);
        return true;
    }
    std::uint64_t named = 0;
    {
        std::lock_guard lock(metadata_mutex);
        named = metadata ? metadata->latest_wal_sequence : 0;
    }
    if (state.acknowledged().sequence > named && upload_limit() == UINT64_MAX &&
        Steady::now() > metadata_written + kMetadataEvery) {
        write_metadata(false);
        return true;
    }
    return false;
}

/// Merging and deleting. A run of once() does not fail because of it: the next one goes on.
bool Replicator::Impl::upkeep_step(ReplicaKeeper& keeper, std::stop_token stop) {
    if (drained_out || upkeep_failed)
        return false;
    try {
        return keeper.step(stop);
    } catch (const Error& e) {
        if (!one_shot || e.kind() == ErrorKind::fenced || stop.stop_requested())
            throw;
        upkeep_failed = true;
        log.warn(std::string("merging and deleting, which the next run does: ") + e.what());
        return false;
    }
}

/// The generation has none, or there is something newer than the last and the interval is over.
bool Replicator::Impl::snapshot_due() {
    if (upload_limit() != UINT64_MAX)
        return state.acknowledged().sequence >= upload_limit();
    const auto snapshots = state.entries(CatalogueEntry::Kind::snapshot);
    if (snapshots.empty())
        return is_known();
    const CatalogueEntry& last = snapshots.back();
    if (state.acknowledged().sequence <= last.range.last)
        return false;
    const TimePoint now = clock_now();
    TimePoint made = keys.parse_snapshot(last.key).value_or(last.time);
    if (auto noted = state.note(kSnapshotMade))
        made = parse_time(*noted);
    // A time to come: the clock was wrong then. One snapshot sets it right.
    return now >= made + options.snapshot_interval || now < made;
}

std::optional<Capture::View> Replicator::Impl::wait_for_view(std::stop_token stop) {
    for (;; pause(stop, Millis(200))) {
        std::future<std::optional<Capture::View>> answer;
        {
            std::lock_guard lock(handover);
            if (stop.stop_requested())
                return std::nullopt;
            view_wanted.emplace();
            answer = view_wanted->get_future();
        }
        watch.wake();
        if (auto view = answer.get())
            return view;
    }
}

void Replicator::Impl::take_snapshot(std::stop_token stop) {
    // Of one who was overtaken it would be useless. And a gap ends for it (gap_may_end).
    own_head();
    std::optional<Capture::View> view = wait_for_view(stop);
    if (!view)
        return;
    struct Release {
        Impl& impl;
        ~Release() {
            impl.view_in_use = false;
            impl.changed();
            impl.watch.wake();
        }
    } release{*this};
    snapshot_works = true; // until it fails
    const ShipPosition& at = view->position;
    SnapshotHeader header;
    header.db_id = state.note("db_id").value_or("");
    header.generation = at.generation;
    header.writer = state.writer();
    header.host = options.host;
    header.sequence = at.sequence;
    header.chain = at.id;
    header.time = at.time;
    header.created_at = clock_now();
    for (const CatalogueEntry& e : state.entries(CatalogueEntry::Kind::snapshot))
        // A clock that was set back must not reuse a key.
        if (auto before = keys.parse_snapshot(e.key))
            header.created_at = std::max(header.created_at, *before + Millis(1));
    SnapshotUpload upload{store, keys, state, options.level, options.jobs};
    CatalogueEntry made;
    try {
        made = upload.run(*view->pages, header, at.checksum);
    } catch (const SnapshotDiffers& e) {
        if (view_cancel) // the read lock was let go under it
            throw Error(ErrorKind::transient, "the snapshot was broken off");
        // Changed outside of SQLite, or the disk is damaged: the capture thread compares all pages,
        // and the replica gets what is there now. The states before stay restorable.
        log.warn(std::string(e.what()) + ": comparing all of it");
        snapshot_differs = true;
        watch.wake();
        return pause(stop, Millis(2000));
    }
    state.set_note(kSnapshotMade, format_rfc3339(clock_now()));
    monitor.update([&](ShipStatus& s) {
        s.last_snapshot_time = made.time;
        s.last_snapshot_sequence = made.range.last;
        s.last_error.clear();
    });
    log.info("snapshot " + made.key + ", " + format_size(made.size));
    write_metadata(false);
    Lineage::opened(state, at.generation);
}

/// What metadata.json should say now.
ReplicaMetadata Replicator::Impl::next_metadata() {
    ReplicaMetadata m = metadata.value_or(ReplicaMetadata{});
    const QueuedSegment last = state.acknowledged();
    m.format = kReplicaFormat;
    m.latest_wal_sequence = last.sequence;
    m.db_identifier = state.note("db_id").value_or("");
    m.writer = state.writer();
    m.host = options.host;
    m.last_modified = clock_now();
    const std::string newest = state.note("generation").value_or("");
    const auto snapshots = state.entries(CatalogueEntry::Kind::snapshot);
    m.snapshot_count = snapshots.size();
    bool open = false;
    for (const CatalogueEntry& e : snapshots)
        if (e.generation == newest) {
            open = true;
            m.latest_snapshot = e.key;
            m.latest_snapshot_time = e.time;
            m.latest_snapshot_sequence = e.range.last;
        }
    if (!open) // it counts once it has a snapshot; until then the one before is where readers start
        return m;
    m.generation = newest;
    const auto known = [&](const GenerationInfo& g) { return g.id == m.generation; };
    if (std::none_of(m.generations.begin(), m.generations.end(), known)) {
        GenerationInfo g;
        g.id = m.generation;
        g.first_sequence = Lineage::claim_sequence(state);
        g.parent = state.note("parent").value_or("");
        g.fork_sequence = std::stoull(state.note("fork_sequence").value_or("0"));
        g.started = m.last_modified;
        g.host = options.host;
        m.generations.push_back(std::move(g));
    }
    return m;
}

/// The head as it is now. Throws fenced when it is not ours: who was overtaken must not write what
/// readers start from.
ReplicaHead Replicator::Impl::own_head() {
    std::lock_guard lock(head_mutex);
    ReplicaHead head = read_replica_head(store, keys, state.acknowledged().sequence);
    if (!head.segment)
        throw Error(ErrorKind::data,
                    "the replica of " + options.name + " has no segments any more");
    const Digest id = head.segment->id();
    const auto queued = state.queued(head.segment->sequence);
    if (state.acknowledged().id == id || (queued && queued->id == id))
        return head;
    throw Error(ErrorKind::fenced,
                options.name + " belongs to " + head.segment->host + " since " +
                    format_rfc3339(head.segment->time),
                "it took over; nothing was changed. --take-over puts this database in its place");
}

void Replicator::Impl::write_metadata(bool released) {
    // Before the lock: read_head() is called with head_mutex held.
    ReplicaHead head = own_head();
    std::lock_guard lock(metadata_mutex);
    metadata = std::move(head.metadata); // others may have written into it
    ReplicaMetadata m = next_metadata();
    if (m.latest_snapshot.empty())
        return; // a generation counts once it has a snapshot
    m.released = released;
    put_replica_metadata(store, keys, m);
    crash_point("metadata.stored");
    metadata = std::move(m);
    metadata_written = Steady::now();
}

} // namespace zl
