/// All objects of a database's replica, each looked at once: what a check works with.
#pragma once

#include "inventory/findings.hpp"
#include "wal/replica_keys.hpp"
#include "wal/replica_metadata.hpp"
#include "wal/segment_spool.hpp"

#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace zl {

/// Of an object that is taken for damaged: what remains to be told.
inline constexpr const char* kDamagedAdvice =
    "zl-restore passes it by where other objects lead to the same state";

struct SurveyedSegment {
    std::string key{};
    SegmentLink link{}; ///< of a damaged one only the range, from its key
    bool merged = false;
    bool damaged = false;
    bool borne_out = false; ///< another object fits it (check_database)
    std::string parent{}; ///< claims: the generation before
    std::optional<TimePoint> gap_from{};
};

struct SurveyedSnapshot {
    std::string key{};
    SegmentLink link{}; ///< range: the sequence that it contains
    bool damaged = false;
};

class ReplicaSurvey {
public:
    /// @p subject: `db/app`, for findings.
    ReplicaSurvey(const CheckContext& context, const ReplicaKeys& keys, std::string subject)
        : c_(context), keys_(keys), subject_(std::move(subject)) {}

    /// Lists, reads metadata.json and the header of each object, with context.full every byte: the
    /// hash of the body, the pages in it, a snapshot's checksum. Memory: 400 bytes an object. False
    /// when an object went away meanwhile: all of it is to be done again, by a new survey. The
    /// @p last one goes on without it.
    bool run(bool last);
    /// Whether something that was there is not any more: somebody is deleting.
    bool is_shrinking() const;

    std::optional<ReplicaMetadata> metadata;
    bool zlayer = false;                     ///< zlayer-storage's: nothing else was looked at
    std::vector<SurveyedSegment> segments;   ///< merged ones too; ascending by last, then first
    std::vector<SurveyedSnapshot> snapshots; ///< ascending by sequence
    std::vector<std::string> unknown;        ///< keys below it that zl did not write
    std::vector<Finding> findings;

    void damage(const std::string& key, const std::string& what, const std::string& affects,
                const std::string& advice);
    void note(const std::string& key, const std::string& what, const std::string& affects);

private:
    void read_metadata();
    void list();
    bool look(SurveyedSegment& segment, std::uint64_t size);
    bool look(SurveyedSnapshot& snapshot);
    template <class Look>
    bool guarded(const std::string& key, bool& damaged, Look look_at);

    const CheckContext& c_;
    const ReplicaKeys& keys_;
    std::string subject_;
    std::vector<std::uint64_t> sizes_; ///< of segments, then snapshots, as listed
    std::mutex mutex_;
};

/// What is left of a replica of zlayer-storage can be told from its keys and first bytes.
bool written_by_zlayer(ObjectStore& store, const ReplicaKeys& keys,
                       const std::optional<ReplicaMetadata>& metadata);

} // namespace zl
