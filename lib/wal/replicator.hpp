/// Ships one live SQLite database to its replica. See lib/README.md for the invariants W1..W9.
///
/// Three threads: capture (live WAL -> segments in the cache; checkpoints; the control of it all),
/// upload (cache -> store, in order; snapshots and metadata come in between), keep (merging and
/// retention). Capture never waits for the store, but in start().
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"
#include "wal/replica_keys.hpp"
#include "wal/ship_status.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

namespace zl {

struct ReplicatorOptions {
    std::string database;  ///< path of the file
    std::string cache_dir; ///< exists; its lock is held by the caller
    std::string name;      ///< for messages and metrics
    std::string store_url; ///< without secrets, for status
    std::string host;      ///< for people
    Millis sync_interval{1000};
    Millis snapshot_interval{std::chrono::hours(1)};
    std::uint64_t max_cache_size = 100 << 20;
    std::optional<std::uint64_t> max_wal = std::uint64_t{1} << 30; ///< nullopt: never give up
    std::optional<Millis> retain = Millis(std::chrono::days(7));   ///< nullopt: delete nothing
    Millis fine{std::chrono::hours(24)};
    Millis drain_timeout{8000};
    bool take_over = false;
    bool enable_wal = false;
    int level = 3;
    int jobs = 2; ///< parts of a snapshot in flight
    /// Breaks off the store's requests under way: called once the time to drain is over.
    std::function<void()> break_off;
};

class Replicator {
public:
    /// @p store: with a short retry budget (the replicator itself never gives up).
    Replicator(ObjectStore& store, ReplicaKeys keys, ReplicatorOptions options, Log& log);
    ~Replicator(); ///< stops at once, without draining; what is cached stays cached

    /// Attach to the database: connections, the read lock, and a first look at the head of the
    /// replica. When it returns nothing that is committed from now on can be missed. Throws
    /// not_found (66: no database), usage/data (65 no database or encrypted; 64 not in WAL mode and
    /// no --enable-wal), denied (77), fenced (76), transient (75: another process holds the
    /// database exclusively, try again). A store that cannot be reached is not an error here: what
    /// is committed waits.
    void start();
    /// After start(): work until @p stop fires, then drain for at most drain_timeout. true: all
    /// that was committed is in the store (and the writer is marked released). Throws fenced,
    /// denied, data when shipping cannot go on.
    bool run(std::stop_token stop);
    /// From another thread, while run() runs: ends the draining too (second signal).
    void abandon();
    /// From any thread, while run() runs: returns when everything that was committed at the call is
    /// in the store. Throws transient after @p timeout or when shipping failed.
    void flush(Millis timeout);
    /// After start(), instead of run(): ship all that is committed now, wait until it is durable.
    void once(std::stop_token stop);
    /// From any thread.
    ShipStatus status() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Before a lost database is restored: send what waits in @p cache_dir, whose lock is held by the
/// caller, so that nothing is lost that only the cache has. Throws what SegmentUploader throws.
void ship_leftovers(ObjectStore& store, const ReplicaKeys& keys, const std::string& cache_dir,
                    Log& log, std::stop_token stop);

/// The status when no shipper runs: from the state in @p cache_dir, which is not changed; nullopt:
/// there is none.
std::optional<ShipStatus> stopped_status(const std::string& cache_dir);

} // namespace zl
