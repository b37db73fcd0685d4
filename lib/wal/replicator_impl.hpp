/// The inside of Replicator; replicator.cpp has its life, replicator_capture.cpp the capture thread
/// (what it does in an outage: replicator_outage.cpp; what it shows: replicator_status.cpp),
/// replicator_upload.cpp and replicator_keep.cpp the two threads that talk to the store.
///
/// States of the capture thread: who has the read lock (W3), and what is durable
///   settled    held. The position is that of the last segment in the cache; what came after is in
///              the WAL
///   unsettled  held. The database was attached and the WAL keeps what is committed. The head of
///              the replica is asked for, and tells how to go on; without an answer it is the own
///              position that does. With neither for long (--max-wal, a low disk): let go
///   let go     not held, there is no position: the first thing to be shipped is a snapshot, so
///              nothing is lost
///   gap        not held, there is a position; the note says since when moments are lost, also to
///              the next run. What waits in the cache is sent
/// From the last two the store leads out: the lock is taken once the head was read. Then the
/// lineage goes on where the WAL was not restarted, or ships what is there now.
///
/// The capture thread waits for the disk and for SQLite, never for the store nor for a thread that
/// does: it asks and comes back (view_wanted, head_wanted), and what it drops of the queue is
/// nothing that is being sent (ShipState::drop_unsent).
#pragma once

#include "wal/capture.hpp"
#include "wal/change_watch.hpp"
#include "wal/disk_margin.hpp"
#include "wal/keeper.hpp"
#include "wal/lineage.hpp"
#include "wal/replicator.hpp"
#include "wal/segment_uploader.hpp"
#include "wal/ship_monitor.hpp"
#include "wal/ship_state.hpp"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>

namespace zl {

using Steady = std::chrono::steady_clock;

/// Between tries of what talks to the store, doubled each time; and how often it looks without news.
inline constexpr Millis kFirstPause{250}, kLongestPause{30000}, kLookEvery{5000};

struct Replicator::Impl {
    Impl(ObjectStore& store_, ReplicaKeys keys_, ReplicatorOptions options_, Log& log_);
    ~Impl();

    // ---- life (replicator.cpp) ----
    void start();
    bool run(std::stop_token stop);
    void once(std::stop_token stop);
    void flush(Millis timeout);
    void start_threads();
    void stop_threads();
    bool drain(std::stop_token stop, std::optional<Steady::time_point> deadline);
    std::uint64_t state_target();
    void rethrow_failure();
    bool monitor_failed() const;
    ShipStatus status() const;
    TimePoint clock_now() { return now_wall(); }

    // ---- capture thread (replicator_capture.cpp) ----
    void attach();
    void detach(const std::string& why);
    bool settled(); ///< there is a position to capture from, or it could be made now
    std::optional<ReplicaHead> look_at_head();
    void end_look();
    void tick();
    void look_at_place();
    bool capture_all(bool even_if_early);
    void lost(const std::string& reason);
    void maybe_checkpoint();
    void serve_view();
    bool is_view_wanted();
    void make_viewable();
    Millis time_to_wait() const;
    void trouble(const std::string& what, const Error& error);
    // ---- in an outage (replicator_outage.cpp) ----
    bool is_outage();
    bool is_sending_for_long() const;
    bool disk_is_low(std::uint64_t ours);
    std::uint64_t pending_wal();
    bool hold_back(); ///< W8: the cache is full, or the disk nearly so
    void let_go(std::uint64_t waiting);
    bool gap_may_end();
    // ---- for others to see (replicator_status.cpp) ----
    void publish(bool always = false);
    void changed();

    // ---- upload thread (replicator_upload.cpp) ----
    void upload_loop(std::stop_token stop);
    bool send_one();
    void answer_look(std::stop_token stop);
    ReplicaHead read_head();
    bool probe_conditional();
    bool has_sendable();
    std::uint64_t upload_limit();
    bool is_known();
    void take_back_release();
    // ---- keep thread (replicator_keep.cpp) ----
    void keep_loop(std::stop_token stop);
    bool keep_step(std::stop_token stop);
    bool upkeep_step(ReplicaKeeper& keeper, std::stop_token stop);
    bool snapshot_due();
    std::optional<Capture::View> wait_for_view(std::stop_token stop);
    void take_snapshot(std::stop_token stop);
    ReplicaHead own_head();
    void write_metadata(bool released);
    ReplicaMetadata next_metadata();
    void pause(std::stop_token stop, Millis time);

    ObjectStore& store;
    ReplicaKeys keys;
    ReplicatorOptions options;
    Log& log;
    ShipState state;
    ReplicaClock clock;
    ShipMonitor monitor;
    ChangeWatch watch;

    // Of the capture thread.
    std::unique_ptr<Capture> capture; ///< none: there is no database at the path just now
    std::unique_ptr<Lineage> lineage;
    Capture::Continuity continuity = Capture::Continuity::no_position;
    std::string lost_reason;
    bool is_settled = false;
    std::optional<TimePoint> gap_from; ///< the read lock was given up; never while is_settled
    std::optional<TimePoint> gap_told;  ///< the gap that was warned of: once, not at every try
    std::future<ReplicaHead> head_answer;
    std::uint64_t looks = 0;
    bool head_unknown = false; ///< the store did not answer the last time it was asked for it
    Steady::time_point last_capture{}, next_look{}, next_place{}, next_checkpoint{}, last_write{},
        next_publish{}, head_asked{};
    Millis checkpoint_backoff{1000};
    std::optional<TimePoint> uncaptured_since; ///< what is committed then may not be in the cache
    std::optional<Steady::time_point> held_back_since;
    DiskMargin db_disk, cache_disk;
    std::string last_trouble;
    std::uint64_t resyncs_before = 0; ///< of databases that were let go

    // Between the threads.
    /// Head and acknowledged position must not move apart while they are compared: held for one
    /// segment of the uploader, for a look at the head, and by the uploader while the capture
    /// thread settles what it found there. Never taken by the capture thread.
    std::mutex head_mutex;
    std::mutex handover;
    std::optional<std::promise<std::optional<Capture::View>>> view_wanted;
    std::optional<std::promise<ReplicaHead>> head_wanted;
    /// Number of the look that is asked for and not settled yet; 0: none.
    std::atomic<std::uint64_t> look_under_way = 0;
    std::atomic<bool> view_in_use = false, view_cancel = false, abandoned = false,
                      drained_out = false, store_works = true, conditional = true, ended = false,
                      one_shot = false, snapshot_differs = false;
    std::atomic<bool> kept_up = false; ///< the keep thread found nothing more to do
    bool upkeep_failed = false;        ///< keep thread only; in a run of once()
    std::atomic<bool> snapshot_works = true; ///< the last try of a generation's first one
    /// What is being sent was begun then; zero: nothing is.
    std::atomic<Steady::time_point> sending_since{};
    std::atomic<std::uint64_t> changes = 0; ///< captured, acknowledged, snapshot made, ...
    std::uint64_t published = UINT64_MAX;   ///< changes that the status shows
    /// When the capture thread last did so; zero: it does not any more.
    std::atomic<Steady::time_point> published_at{};
    std::atomic<std::uint64_t> flushes_asked = 0, flushes_done = 0, flush_target = 0;
    std::unique_ptr<SegmentUploader> uploader;
    std::mutex metadata_mutex;
    std::optional<ReplicaMetadata> metadata; ///< as last read or written
    Steady::time_point metadata_written{};
    std::jthread upload_thread, keep_thread;
};

} // namespace zl
