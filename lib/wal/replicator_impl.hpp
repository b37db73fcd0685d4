/// The inside of Replicator; replicator.cpp has its life, replicator_capture.cpp the capture
/// thread, replicator_store.cpp the two threads that talk to the store.
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
    void tick();
    void look_at_place();
    bool nothing_gets_through() const;
    bool disk_is_low(std::uint64_t ours, bool outage);
    bool wal_is_too_large();
    std::uint64_t pending_wal();
    bool hold_back(); ///< W8: the cache is full, or the disk nearly so
    void end_gap();
    bool capture_all(bool even_if_early);
    void lost(const std::string& reason);
    void maybe_checkpoint();
    void serve_view();
    void publish(bool always = false);
    void changed();
    Millis time_to_wait() const;
    void trouble(const std::string& what, const Error& error);

    // ---- upload thread (replicator_store.cpp) ----
    void upload_loop(std::stop_token stop);
    bool send_one();
    bool probe_conditional();
    bool has_sendable();
    std::uint64_t upload_limit();
    bool is_known();
    void take_back_release();
    // ---- keep thread: snapshots, metadata, merging, retention ----
    void keep_loop(std::stop_token stop);
    bool keep_step(std::stop_token stop);
    bool snapshot_due();
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
    std::optional<TimePoint> gap_from; ///< the read lock was given up
    Steady::time_point last_capture{}, next_look{}, next_place{}, next_checkpoint{}, last_write{},
        next_publish{};
    Millis checkpoint_backoff{1000};
    std::optional<TimePoint> uncaptured_since;
    std::optional<Steady::time_point> held_back_since;
    DiskMargin db_disk, cache_disk;
    std::string last_trouble;
    std::uint64_t resyncs_before = 0; ///< of databases that were let go

    // Between the threads.
    /// Held for one request of the uploader, and while the lineage is settled or continued anew:
    /// head and acknowledged position must not move apart while they are compared, and no segment
    /// may be dropped that is on its way.
    std::mutex lineage_mutex;
    std::mutex handover;
    std::optional<std::promise<std::optional<Capture::View>>> view_wanted;
    std::atomic<bool> view_in_use = false, view_cancel = false, abandoned = false,
                      drained_out = false, store_works = true, conditional = true, ended = false,
                      one_shot = false, snapshot_differs = false;
    /// What is being sent was begun then; zero: nothing is.
    std::atomic<Steady::time_point> sending_since{};
    std::atomic<std::uint64_t> changes = 0; ///< captured, acknowledged, snapshot made, ...
    std::uint64_t published = UINT64_MAX;   ///< changes that the status shows
    std::atomic<std::uint64_t> flushes_asked = 0, flushes_done = 0, flush_target = 0;
    std::unique_ptr<SegmentUploader> uploader;
    std::mutex metadata_mutex;
    std::optional<ReplicaMetadata> metadata; ///< as last read or written
    Steady::time_point metadata_written{};
    std::jthread upload_thread, keep_thread;
};

} // namespace zl
