/// zl-push: takes the input in, and brings pushes to their end (push_job.hpp has the states).
#pragma once

#include "state/state_db.hpp"
#include "transfer/push_job.hpp"
#include "transfer/spool.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace zl {

struct PushOptions {
    std::string store_url; ///< as given; kept so that --resume can open it again
    std::string prefix;
    std::string name; ///< empty: no ref
    LayerKind kind = LayerKind::layer;
    int jobs = 4;
    std::uint64_t part_size = 64 << 20;
    std::string spool_dir; ///< made if it does not exist (0700)
    bool force = false;
    std::string tags = "{}"; ///< JSON object
};

class Pusher {
public:
    /// @p store may be null for list() and for resume_all() (which opens stores by the rows' URL).
    using OpenStore = std::function<std::unique_ptr<ObjectStore>(const std::string& url)>;
    Pusher(StateDb& db, PushOptions options, OpenStore open, Log& log, Progress& progress,
           std::stop_token stop);

    /// Spool @p in, then push it. @p after_input runs at the end of the input and throws if its
    /// producer failed; it may return the incomplete flag that the producer's exit code stands for.
    /// Whatever happens before the spool is complete leaves nothing; afterwards the row stays until
    /// the push is done, and a transient Error says how to go on.
    PushOutcome push(Source& in, const std::function<void(const SpoolResult&)>& after_input);

    /// What is pending for this store, prefix and name, oldest first (after push()). Failures are
    /// warnings: the rows stay.
    void finish_pending();

    /// Everything that earlier runs left. Outcomes in order; a failure does not stop the others,
    /// the last one is thrown at the end.
    void resume_all(const std::function<void(const PushOutcome&)>& report);

    /// Rows that wait, without changing anything.
    struct Pending {
        PushRow row;
        bool busy = false; ///< another process works on it
        bool lost = false; ///< its spool is not there
        std::uint64_t parts_bytes = 0; ///< known to be stored
    };
    std::vector<Pending> list();

private:
    ObjectStore& store(const std::string& url);
    PushOutcome run_job(PushRow row, ObjectStore& store, PartHashes hashes = {});
    PushOutcome run_steps(PushRow row, ObjectStore& store, PartHashes hashes);
    void take_over_upload(PushRow& row);
    void fix_ref_time(PushRow& row, ObjectStore& store);
    void sweep(bool remove, bool tell_lost);
    void sweep_suspects(ObjectStore& store);
    std::string new_spool_path() const;

    StateDb& db_;
    PushOptions options_;
    OpenStore open_;
    Log& log_;
    Progress& progress_;
    std::stop_token stop_;
    std::map<std::string, std::unique_ptr<ObjectStore>> stores_;
};

} // namespace zl
