/// The segments of a plan, fetched in parallel into one file and proved, before any page is used.
#pragma once

#include "base/file.hpp"
#include "base/report.hpp"
#include "wal/restore_catalogue.hpp"
#include "wal/restorer.hpp"

#include <cstdint>
#include <map>
#include <stop_token>
#include <string>

namespace zl {

/// What has to fit together from one segment to the next.
struct SegmentLink {
    SequenceRange range;
    std::string db_id, generation;
    TimePoint time{};
    std::uint32_t page_size = 0, page_count = 0;
    Digest prev, id; ///< id: of its last segment
    DbChecksum before = 0, after = 0;
    bool claim = false;
};
SegmentLink link_of(const SegmentHeader& header);
/// Where the chain begins.
SegmentLink link_of(const SnapshotHeader& header);
/// Why @p next cannot follow @p last; empty: it does.
std::string why_not_next(const SegmentLink& last, const SegmentLink& next);

class SegmentSpool {
public:
    /// @p path: made anew. It is not synced: after a crash a restore starts over.
    SegmentSpool(ReplicaCatalogue& catalogue, const std::string& path, Progress& progress,
                 std::stop_token stop);

    /// Fetch what is not here yet. What is damaged or gone is noted in the catalogue; PlanAgain
    /// then.
    void fetch(const std::vector<PlannedSegment>& segments, int jobs);
    const SegmentLink& link(const std::string& key) const { return parts_.at(key).link; }
    /// Calls @p visit for each page; damage is noted in the catalogue and gives PlanAgain.
    void read(const PlannedSegment& segment, const PageVisitor& visit);
    std::uint64_t bytes_fetched() const { return bytes_; }

private:
    struct Part {
        std::uint64_t offset = 0, size = 0;
        SegmentLink link;
    };
    class Receiver;
    /// false: damaged or gone, and noted.
    bool fetch_one(const PlannedSegment& segment, Part& part);

    ReplicaCatalogue& catalogue_;
    std::string path_;
    UniqueFd fd_;
    Progress& progress_;
    std::stop_token stop_;
    std::map<std::string, Part> parts_;
    std::uint64_t end_ = 0, bytes_ = 0;
};

} // namespace zl
