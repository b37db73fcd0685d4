/// Which history the live database belongs to: the replica's (go on), or one of its own (a new
/// generation), or somebody else's name (stop). W6, W7, W9.
#pragma once

#include "wal/capture.hpp"
#include "wal/replica_head.hpp"

namespace zl {

class Lineage {
public:
    struct Options {
        std::string name, host;
        bool take_over = false;
    };
    Lineage(Capture& capture, ShipState& state, Options options, Log& log);

    /// With the head of the replica known. Throws fenced (W9) having changed nothing.
    ///   no replica                      first generation
    ///   head is our last acknowledged   go on; what the WAL does not prove is compared
    ///   head is a queued one of ours    the same (a reply was lost)
    ///   database equals the head        go on from it (a host that restored takes over)
    ///   head is ours, but further       new generation: this volume went back in time
    ///   head is a released writer's, or --take-over: new generation
    void settle(const ReplicaHead& head, Capture::Continuity continuity, const std::string& reason);
    /// With the head unknown: as far as the own state goes. false: there is no position to go on
    /// from; the read lock keeps what is committed until settle().
    bool settle_offline(Capture::Continuity continuity, const std::string& reason);
    /// Continuity was lost while running: the difference, or a new generation.
    void resync(const std::string& reason);
    // From any thread:
    /// The read lock is about to be given up (W8): moments after @p from are lost, unless the WAL
    /// turns out to be continued. Durable, so that the segment or claim that ends it says so also
    /// after a kill.
    static void begin_gap(ShipState& state, TimePoint from);
    /// The gap that no segment tells of yet.
    static std::optional<TimePoint> gap(ShipState& state);
    /// Upload segments only up to here until the generation has a snapshot that metadata names.
    static std::uint64_t upload_limit(ShipState& state);
    /// The snapshot of @p generation is in place.
    static void opened(ShipState& state, const std::string& generation);
    /// First sequence of the newest generation; 0: not known.
    static std::uint64_t claim_sequence(ShipState& state);
    /// Losses of continuity so far.
    std::uint64_t resyncs() const { return resyncs_; }

private:
    void first_generation(const ReplicaHead& head);
    void new_generation(Fork fork, const std::string& reason);
    void go_on(Capture::Continuity continuity, const std::string& reason);
    void identify(const std::string& db_id, const std::string& generation);
    bool ours(const SegmentHeader& head);

    Capture& capture_;
    ShipState& state_;
    Options options_;
    Log& log_;
    std::uint64_t resyncs_ = 0;
};

} // namespace zl
