#include "prune/layer_pruner.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "base/parallel.hpp"
#include "prune/grace.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/prune_notice.hpp"

#include <algorithm>
#include <mutex>

namespace zl {

namespace {

using Action = LayerDecision::Action;

constexpr int kJobs = 8;
/// What a slow store deletes within prune_acts().
constexpr std::size_t kBatch = 100;
/// Batches in a row in which there was no time for a single layer.
constexpr int kMaxIdle = 3;
static_assert(kBatch <= kMaxNoticeDigests);

} // namespace

LayerPruner::LayerPruner(ObjectStore& store, ObjectStore& deleting, std::string prefix, Log& log,
                         std::stop_token stop)
    : store_(store), deleting_(deleting), prefix_(std::move(prefix)), log_(log),
      stop_(std::move(stop)) {}

void LayerPruner::run(const LayerPlan& plan, PruneTotals& totals) {
    remove_dead_notices();
    take_back(plan);
    set_marks(plan);
    remove_refs(plan, totals);
    remove_marked(plan, totals);
}

void LayerPruner::check_stop() const {
    if (stop_.stop_requested())
        throw Interrupted();
}

/// Seldom are there any. What the store has just written shows what time it is there.
void LayerPruner::remove_dead_notices() {
    if (list_prune_notices(store_, prefix_).empty())
        return;
    const PruneNotice own = write_prune_notice(store_, prefix_, {});
    for (const PruneNotice& n : list_prune_notices(store_, prefix_))
        if (own.written - n.written > notice_life() + grace_period())
            store_.remove(n.key);
    store_.remove(own.key);
}

std::string LayerPruner::mark_key(const LayerObjects& l) const {
    return l.raw ? raw_doomed_key(prefix_, l.digest) : layer_doomed_key(prefix_, l.digest);
}

void LayerPruner::take_back(const LayerPlan& plan) {
    for (const LayerDecision& d : plan.layers)
        if (d.action == Action::unmark) {
            check_stop();
            store_.remove(mark_key(d.layer));
        }
}

// -------------------------------------------------------------------------------- the first phase

void LayerPruner::set_marks(const LayerPlan& plan) {
    std::vector<const LayerObjects*> layers;
    for (const LayerDecision& d : plan.layers)
        if (d.action == Action::mark)
            layers.push_back(&d.layer);
    parallel_for(layers.size(), kJobs, [&](std::size_t i) {
        check_stop();
        Json j;
        j["digest"] = layers[i]->digest;
        j["doomed_at"] = format_rfc3339(now_wall() + store_.clock_offset());
        put_text(store_, mark_key(*layers[i]), dump_json(j) + "\n");
        crash_point("prune.marked");
    });
}

void LayerPruner::remove_refs(const LayerPlan& plan, PruneTotals& totals) {
    std::vector<const RefKey*> refs;
    for (const RefDecision& d : plan.refs)
        if (!d.keep())
            refs.push_back(&d.ref);
    std::stable_sort(refs.begin(), refs.end(),
                     [](const RefKey* a, const RefKey* b) { return a->time < b->time; });
    parallel_for(refs.size(), kJobs, [&](std::size_t i) {
        check_stop();
        store_.remove(refs[i]->key);
        ++totals.objects;
        crash_point("prune.ref");
    });
}

// ------------------------------------------------------------------------------- the second phase

void LayerPruner::remove_marked(const LayerPlan& plan, PruneTotals& totals) {
    std::vector<LayerObjects> due;
    for (const LayerDecision& d : plan.layers)
        if (d.action == Action::remove)
            due.push_back(d.layer);
    for (int idle = 0; !due.empty();) {
        check_stop();
        const std::size_t before = due.size();
        const std::size_t n = std::min(kBatch, due.size());
        std::vector<LayerObjects> batch(due.end() - static_cast<std::ptrdiff_t>(n), due.end());
        due.resize(due.size() - n);
        for (LayerObjects& late : remove_batch(batch, totals))
            due.push_back(std::move(late));
        idle = due.size() < before ? 0 : idle + 1;
        if (idle == kMaxIdle)
            throw Error(ErrorKind::transient,
                        "listing the refs below " + store_.describe(prefix_) + " takes more than " +
                            format_duration(prune_acts()) + ": too long to delete layers by it",
                        "run it again when the store is faster; prune names first (--keep-...)");
    }
}

/// Returns what there was no time for. When it throws, a delete may be under way still: the notice
/// stays, until its life ends.
std::vector<LayerObjects> LayerPruner::remove_batch(const std::vector<LayerObjects>& layers,
                                                    PruneTotals& totals) {
    std::vector<std::string> digests;
    for (const LayerObjects& l : layers)
        digests.push_back(l.digest);
    Batch batch;
    batch.begun = boot_time(); // P2: before the notice can be seen
    const PruneNotice notice = write_prune_notice(store_, prefix_, digests);
    batch.written = notice.written;
    crash_point("prune.noticed");
    batch.named = named_digests(store_, prefix_);
    crash_point("prune.listed");
    std::mutex mutex;
    std::vector<LayerObjects> late;
    parallel_for(layers.size(), kJobs, [&](std::size_t i) {
        check_stop();
        if (remove_layer(batch, layers[i], totals))
            return;
        std::lock_guard lock(mutex);
        late.push_back(layers[i]);
    });
    store_.remove(notice.key);
    if (!late.empty())
        log_.info(std::to_string(late.size()) +
                  " layers are looked at again: too long since the refs were listed");
    return late;
}

/// False: no time was left. What is to be deleted is looked at anew: by now it may be named, stored
/// anew, or deleted by another prune.
bool LayerPruner::remove_layer(const Batch& batch, const LayerObjects& layer, PruneTotals& totals) {
    const LayerObjects l = look(layer);
    if (!l.doomed)
        return true;
    if (batch.named.contains(l.digest.substr(0, 12))) {
        log_.info("sha256:" + l.digest + " is named again: kept");
        store_.remove(l.doomed->key);
        return true;
    }
    const TimePoint old_enough = batch.written - grace_period(); // whatever our clock says
    for (const auto& o : {l.object, l.meta, l.doomed})
        if (o && o->last_modified > old_enough)
            return true;
    auto remove = [&](const std::optional<ObjectInfo>& o, const char* point) {
        if (!o)
            return true;
        if (boot_time() - batch.begun >= prune_acts())
            return false;
        crash_point(std::string(point) + "-next");
        deleting_.remove(o->key);
        crash_point(point);
        return true;
    };
    if (!remove(l.object, "prune.layer"))
        return false;
    if (l.object)
        ++totals.objects, totals.bytes += l.object->size;
    if (!remove(l.meta, "prune.meta"))
        return false;
    if (l.meta)
        ++totals.objects, totals.bytes += l.meta->size;
    return remove(l.doomed, "prune.unmarked");
}

LayerObjects LayerPruner::look(const LayerObjects& layer) {
    LayerObjects now{layer.digest, layer.raw, {}, {}, {}};
    const std::string object =
        layer.raw ? raw_key(prefix_, layer.digest) : layer_key(prefix_, layer.digest);
    const std::string meta =
        layer.raw ? raw_meta_key(prefix_, layer.digest) : layer_meta_key(prefix_, layer.digest);
    store_.list(digest_prefix(prefix_, layer.digest, layer.raw), {}, [&](const ObjectInfo& o) {
        if (o.key == object)
            now.object = o;
        else if (o.key == meta)
            now.meta = o;
        else if (o.key == mark_key(layer))
            now.doomed = o;
        return true;
    });
    return now;
}

} // namespace zl
