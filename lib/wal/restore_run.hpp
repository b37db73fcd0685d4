/// A rebuild from plan to proof, again without what is damaged or gone: what Restorer and Follower
/// share.
#pragma once

#include "wal/restore_job.hpp"
#include "wal/restore_plan.hpp"
#include "wal/restorer.hpp"

#include <set>
#include <stop_token>
#include <string>

namespace zl {

class RestoreRun {
public:
    RestoreRun(ObjectStore& store, ReplicaKeys keys, Restorer::Options options, Log& log,
               Progress& progress, std::stop_token stop);

    /// Throws data where the target cannot be reached: with the command that restores @p file to
    /// the last good moment.
    RestorePlan resolve(ReplicaCatalogue& catalogue, const RestoreTarget& target,
                        const std::string& file);
    /// Into `db` in @p directory: proved and checked, not synced. @p reached gets the state.
    RestoreOutcome rebuild(const RestoreTarget& target, const std::string& directory,
                           const std::string& file, SegmentLink* reached = nullptr);

    ObjectStore& store;
    const ReplicaKeys keys;
    const Restorer::Options options;
    Log& log;
    Progress& progress;
    const std::stop_token stop;

private:
    std::string command(const std::string& file) const;
    void tell(const RestorePlan& plan);
    void check(const std::string& db);
    std::set<std::string> told_;
};

} // namespace zl
