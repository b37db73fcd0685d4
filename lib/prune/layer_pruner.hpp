/// Carries out a LayerPlan. transfer/prune_notice.hpp says why no layer is lost that a push names
/// meanwhile; here is the order, and what a kill leaves (crash points prune.*):
///
///   step                                        a kill -9 after it leaves
///   marks: first of layers that lose their      marks of named layers: the next run takes them
///   last name, then of others (marked)          back or goes on
///   the refs, oldest first (ref)                refs that resolve, as always; the next run goes on
///   a notice, then the refs listed again        a notice that ends by itself (noticed)
///   and, of each marked layer past its grace:
///     the layer (layer)                         meta.json and mark of a layer without a name: the
///     meta.json (meta)                          next run deletes them as well
///     the mark (unmarked)
///   the notice                                  nothing
///
/// Every step may be repeated, and done by two at once. A mark of a layer that is named again is
/// taken back, at any of these times.
#pragma once

#include "base/report.hpp"
#include "prune/layer_plan.hpp"

#include <atomic>
#include <stop_token>

namespace zl {

/// What was deleted. Marks and notices do not count.
struct PruneTotals {
    std::atomic<std::uint64_t> objects{0}, bytes{0};
};

class LayerPruner {
public:
    /// @p deleting: the same store, which gives up after prune_delete_retry(): a delete that is
    /// repeated for long could hit what was stored anew.
    LayerPruner(ObjectStore& store, ObjectStore& deleting, std::string prefix, Log& log,
                std::stop_token stop);
    /// Throws denied as soon as a right is missing, transient: run again.
    void run(const LayerPlan& plan, PruneTotals& totals);

private:
    /// Layers, while a notice of ours names them.
    struct Batch {
        std::set<std::string> named; ///< digest12, listed after the notice was written
        TimePoint written{};         ///< the notice, by the store's clock
        Millis begun{};              ///< boot-time clock, before that
    };
    void remove_dead_notices();
    void set_marks(const LayerPlan& plan);
    void remove_refs(const LayerPlan& plan, PruneTotals& totals);
    void take_back(const LayerPlan& plan);
    void remove_marked(const LayerPlan& plan, PruneTotals& totals);
    std::vector<LayerObjects> remove_batch(const std::vector<LayerObjects>& layers,
                                           PruneTotals& totals);
    bool remove_layer(const Batch& batch, const LayerObjects& layer, PruneTotals& totals);
    LayerObjects look(const LayerObjects& layer);
    std::string mark_key(const LayerObjects& layer) const;
    void check_stop() const;

    ObjectStore& store_;
    ObjectStore& deleting_;
    std::string prefix_;
    Log& log_;
    std::stop_token stop_;
};

} // namespace zl
