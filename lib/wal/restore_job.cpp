#include "wal/restore_job.hpp"

#include "base/crash_point.hpp"
#include "base/disk.hpp"
#include "base/error.hpp"
#include "wal/snapshot_fetch.hpp"

#include <fcntl.h>

namespace zl {

RestoreJob::RestoreJob(ReplicaCatalogue& catalogue, const Restorer::Options& options, Log& log,
                       Progress& progress, std::stop_token stop, std::string directory)
    : catalogue_(catalogue), options_(options), log_(log), progress_(progress),
      stop_(std::move(stop)), directory_(std::move(directory)) {
    spool_ = std::make_unique<SegmentSpool>(catalogue_, spool_path(), progress_, stop_);
}

/// A snapshot with segments behind it is tied to the chain by the first of them. Without any, its
/// own last segment does that, if it is still there.
void RestoreJob::tie_snapshot(const RestorePlan& plan) {
    const SnapshotHeader& snapshot = plan.snapshot.header;
    std::optional<SegmentHeader> h;
    try {
        h = get_segment_header(catalogue_.store(), catalogue_.keys().segment(snapshot.sequence));
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
    }
    if (!h || (h->id() == snapshot.chain && h->checksum_after == snapshot.checksum))
        return;
    catalogue_.exclude(plan.snapshot_key, catalogue_.store().describe(plan.snapshot_key) +
                                              ": is not of the state that segment " +
                                              std::to_string(snapshot.sequence) + " leads to");
    throw PlanAgain();
}

SegmentLink RestoreJob::follow_chain(const RestorePlan& plan) {
    if (plan.segments.empty())
        tie_snapshot(plan);
    SegmentLink last = link_of(plan.snapshot.header);
    for (const PlannedSegment& s : plan.segments) {
        const SegmentLink& next = spool_->link(s.key);
        if (std::string why = why_not_next(last, next); !why.empty()) {
            catalogue_.exclude(s.key, catalogue_.store().describe(s.key) +
                                          ": does not follow what is before it: " + why);
            throw PlanAgain();
        }
        last = next;
    }
    return last;
}

RestoreOutcome RestoreJob::run(const RestorePlan& plan) {
    progress_.begin("fetching", plan.bytes);
    const SnapshotHeader& snapshot = plan.snapshot.header;
    require_space(directory_, plan.bytes - plan.snapshot_size +
                  std::uint64_t{snapshot.page_size} * snapshot.page_count);
    spool_->fetch(plan.segments, options_.jobs);
    const SegmentLink target = follow_chain(plan);
    crash_point("restore.fetched");

    UniqueFd fd = open_file(db_path(), O_RDWR | O_CREAT | O_TRUNC, 0666);
    require_space(directory_, std::uint64_t{target.page_size} * target.page_count);
    PageWriter writer(fd.get(), db_path(), target.page_size, target.page_count);
    for (auto s = plan.segments.rbegin(); s != plan.segments.rend(); ++s) {
        if (stop_.stop_requested())
            throw Interrupted();
        spool_->read(*s, [&](std::uint32_t page, Bytes data) { writer.segment_page(page, data); });
    }
    crash_point("restore.writing");
    try {
        snapshot_bytes_ +=
            fetch_snapshot(catalogue_, plan, writer, options_.jobs, progress_, stop_);
        const DbChecksum sum = writer.finish(snapshot.page_count, stop_);
        if (sum != target.after)
            throw Error(ErrorKind::data, "the database rebuilt from it has checksum " +
                                             std::to_string(sum) + ", expected " +
                                             std::to_string(target.after));
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        const std::string name = catalogue_.store().describe(plan.snapshot_key);
        catalogue_.exclude(plan.snapshot_key,
                           e.message().starts_with(name) ? e.message() : name + ": " + e.message());
        throw PlanAgain();
    }
    fd.close_checked(db_path());

    reached_ = target;
    RestoreOutcome out;
    out.generation = plan.generation;
    out.sequence = plan.sequence;
    out.time = plan.time;
    out.page_size = target.page_size;
    out.page_count = target.page_count;
    out.pages_written = writer.pages_written();
    out.segments = plan.segments.size();
    out.bytes_fetched = spool_->bytes_fetched() + snapshot_bytes_;
    return out;
}

} // namespace zl
