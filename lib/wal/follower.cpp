#include "wal/follower.hpp"

#include "base/error.hpp"

namespace zl {

Follower::Follower(RestoreRun& run, std::string file)
    : run_(run), file_(std::move(file)), site_(file_, RestoreSite::Existing::keep) {}

bool Follower::first_step() {
    copy_ = FollowCopy::open(file_, run_.stop);
    if (copy_)
        return step();
    SegmentLink reached;
    run_.rebuild({}, site_.directory(), file_, &reached);
    const std::string db = site_.directory() + "/db";
    FollowCopy copy = FollowCopy::begin(file_, db, reached, run_.stop);
    site_.install(db);
    copy_ = std::move(copy);
    return true;
}

/// Two small requests when there is nothing. A follower that slept for long may stand in the middle
/// of what is now one merged object: then only metadata.json shows that there is more.
bool Follower::is_behind() {
    const std::uint64_t at = sequence();
    ListOptions options;
    options.start_after = run_.keys.segment(at);
    bool more = false;
    run_.store.list(run_.keys.segments(), options, [&](const ObjectInfo&) {
        more = true;
        return false;
    });
    if (more)
        return true;
    ReplicaCatalogue catalogue(run_.store, run_.keys);
    const auto& metadata = catalogue.metadata();
    return metadata && metadata->latest_wal_sequence > at;
}

bool Follower::step() {
    if (!copy_)
        return first_step();
    if (!is_behind())
        return false;
    for (int attempt = 0;; ++attempt) {
        ReplicaCatalogue catalogue(run_.store, run_.keys);
        try {
            return apply_segments(catalogue);
        } catch (const PlanAgain&) {
            // Gone: merged or deleted meanwhile, the next listing shows how. Damaged: a snapshot
            // may lie behind it.
            if (!catalogue.damaged().empty() || attempt == 5)
                return rebuild();
        }
    }
}

bool Follower::apply_segments(ReplicaCatalogue& catalogue) {
    const SegmentLink from = copy_->link();
    RestoreChain chain(from.range.last, catalogue.objects(from.range.last));
    std::vector<PlannedSegment> batch;
    std::uint64_t bytes = 0;
    for (const auto& o : chain.path(chain.states().size() - 1)) {
        if (!batch.empty() && bytes + o.size > kMaxFollowBytes)
            break;
        batch.push_back({catalogue.key(o), o.range, o.size});
        bytes += o.size;
    }
    SegmentSpool spool(catalogue, spool_path(), run_.progress, run_.stop);
    spool.fetch(batch, run_.options.jobs);
    SegmentLink to = from;
    std::size_t good = 0;
    while (good < batch.size() && why_not_next(to, spool.link(batch[good].key)).empty())
        to = spool.link(batch[good++].key);
    if (good == 0) // a hole, or another history: both need a snapshot
        return rebuild();
    batch.resize(good);
    copy_->apply(to, [&](const PageVisitor& visit) {
        for (auto s = batch.rbegin(); s != batch.rend(); ++s)
            spool.read(*s, visit);
    });
    return true;
}

bool Follower::rebuild() {
    ReplicaCatalogue catalogue(run_.store, run_.keys);
    const RestorePlan plan = run_.resolve(catalogue, {}, file_);
    if (plan.sequence <= copy_->link().range.last)
        return false; // another generation has begun; its snapshot is not there yet
    SegmentLink reached;
    run_.rebuild({}, site_.directory(), file_, &reached);
    if (reached.range.last <= copy_->link().range.last)
        return false;
    copy_->apply_file(reached, site_.directory() + "/db");
    return true;
}

} // namespace zl
