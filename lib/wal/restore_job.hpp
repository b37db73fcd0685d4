/// One restore under way in its directory: fetch, chain, write, prove. Over again without what
/// turned out to be damaged or gone, as long as the target can be reached.
#pragma once

#include "wal/page_writer.hpp"
#include "wal/restore_plan.hpp"
#include "wal/segment_spool.hpp"

#include <memory>

namespace zl {

class RestoreJob {
public:
    /// @p directory exists and is ours alone.
    RestoreJob(ReplicaCatalogue& catalogue, const Restorer::Options& options, Log& log,
               Progress& progress, std::stop_token stop, std::string directory);

    std::string spool_path() const { return directory_ + "/segments"; }
    std::string db_path() const { return directory_ + "/db"; }
    /// Carries out @p plan into db_path() (mode by umask), proved by its checksum; not synced.
    /// Throws PlanAgain.
    RestoreOutcome run(const RestorePlan& plan);
    /// The state that db_path() has after run().
    const SegmentLink& reached() const { return reached_; }

private:
    void tie_snapshot(const RestorePlan& plan);
    SegmentLink follow_chain(const RestorePlan& plan);

    ReplicaCatalogue& catalogue_;
    const Restorer::Options& options_;
    Log& log_;
    Progress& progress_;
    std::stop_token stop_;
    std::string directory_;
    std::unique_ptr<SegmentSpool> spool_;
    std::uint64_t snapshot_bytes_ = 0;
    SegmentLink reached_;
};

} // namespace zl
