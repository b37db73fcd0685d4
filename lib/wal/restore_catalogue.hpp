/// What a replica holds, as far as it was looked at: listings, and headers read once each.
#pragma once

#include "base/report.hpp"
#include "wal/replica_head.hpp"
#include "wal/snapshot.hpp"

#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace zl {

/// An object was found to be damaged or gone, and the catalogue took note: plan again, without it
/// or with a new listing. Not an Error, so that nobody reports it by mistake.
class PlanAgain : public std::exception {
public:
    const char* what() const noexcept override { return "the plan no longer holds"; }
};

class ReplicaCatalogue {
public:
    struct Snapshot {
        std::string key;
        TimePoint time{}; ///< when it was begun
        std::uint64_t size = 0;
    };
    struct Object {
        SequenceRange range;
        std::uint64_t size = 0;
        bool merged = false;
    };

    ReplicaCatalogue(ObjectStore& store, const ReplicaKeys& keys) : store_(store), keys_(keys) {}
    ObjectStore& store() { return store_; }
    const ReplicaKeys& keys() const { return keys_; }

    /// One LIST: whether anything of a replica is there.
    bool exists();
    /// nullopt: none, or it does not decode (the objects themselves say all that matters). Throws
    /// data for a replica of zlayer-storage.
    const std::optional<ReplicaMetadata>& metadata();

    // Listings are fresh at each call; damaged objects are left out.
    /// Ascending by time.
    std::vector<Snapshot> snapshots();
    /// Segments and merged ones with after < first and first <= up_to, ascending by first, then
    /// last. Singles are listed before the merged ones, which are written before singles are
    /// deleted: a segment that is merged meanwhile is seen in one of the two.
    std::vector<Object> objects(std::uint64_t after, std::uint64_t up_to = UINT64_MAX);
    std::string key(const Object& object) const;

    // Headers; each is read once. Thread-safe. Throw PlanAgain when the object is damaged or gone.
    const SegmentHeader& header(const Object& object);
    const SnapshotIndex& index(const Snapshot& snapshot);

    /// This object is damaged: @p reason is a whole message that names it. Listings leave it out.
    void exclude(const std::string& key, std::string reason);
    /// A listed object was not there. Excluded when that happens too often (a listing that lies).
    void vanished(const std::string& key);
    /// Damaged objects and why, by key.
    const std::map<std::string, std::string>& damaged() const { return damaged_; }
    /// Of a damaged segment: what range it stood for; nullopt for a snapshot.
    std::optional<SequenceRange> range_of(const std::string& key) const;

private:
    bool is_damaged(const std::string& key) const;

    ObjectStore& store_;
    const ReplicaKeys& keys_;
    std::optional<std::optional<ReplicaMetadata>> metadata_;
    mutable std::mutex mutex_;
    std::map<std::string, SegmentHeader> headers_;
    std::map<std::string, SnapshotIndex> indexes_;
    std::map<std::string, std::string> damaged_;
    int vanished_ = 0;
};

} // namespace zl
