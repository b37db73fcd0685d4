#include "prune_run.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "inventory/inventory.hpp"
#include "prune/grace.hpp"
#include "prune/layer_pruner.hpp"
#include "prune_report.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/prune_notice.hpp"

#include <optional>

namespace zl {

namespace {

class Prune {
public:
    Prune(ToolContext& ctx, const PruneArguments& a)
        : ctx_(ctx), a_(a), report_(ctx, a.apply), store_(ctx.open_store()),
          prefix_(ctx.settings().prefix) {}

    void run() {
        open_state();
        plan();
        report_.print_plan();
        try {
            if (a_.apply)
                apply();
        } catch (...) {
            report_.print_summary(totals_, false); // what was done stands
            throw;
        }
        report_.print_summary(totals_, true);
        if (left_alone_)
            throw *left_alone_;
    }

private:
    std::string layer_prefix() const { return prefix_.empty() ? kDefaultLayerPrefix : prefix_; }
    bool some_layers() const { return a_.layers.all || !a_.layers.names.empty(); }
    TimePoint now() const { return now_wall() + store_->clock_offset(); }

    /// The state of zl-push, if there is any.
    void open_state() {
        const std::string path =
            a_.state_db.empty() ? ctx_.settings().state_dir + "/push.db" : a_.state_db;
        if ((a_.local || ctx_.options().given("uploads-older")) && path_exists(path))
            state_.emplace(path);
    }

    void plan() {
        if (some_layers()) {
            auto inventory = list_layers(*store_, layer_prefix());
            layers_ = plan_layers(inventory, a_.layers, a_.rules, read_refs_of(*store_), now(),
                                  grace_period());
            report_.add(layers_);
        }
        for (const std::string& name : databases())
            plan_database(name);
        if (ctx_.options().given("uploads-older"))
            plan_uploads();
        if (a_.local)
            sweep([&](const DeadPush& dead) {
                report_.add(dead, fate_of(dead));
                return Fate::keep;
            });
    }

    /// Of --all, one that is damaged or another program's does not stop the others.
    void plan_database(const std::string& name) {
        const ReplicaScope scope{a_.rules.within, a_.generation};
        const ReplicaKeys keys =
            prefix_.empty() || a_.all ? ReplicaKeys::of_name(name) : ReplicaKeys(prefix_);
        try {
            replicas_.push_back(plan_replica(*store_, keys, scope, now(), ctx_.log()));
        } catch (Error& e) {
            if (!a_.all || (e.kind() != ErrorKind::data && e.kind() != ErrorKind::not_found))
                throw;
            e.add_context("db/" + name + " is left alone");
            if (left_alone_)
                ctx_.log().warn(left_alone_->what());
            left_alone_ = e;
            return;
        }
        report_.add(std::string(kDatabaseOperand) + name, replicas_.back());
    }

    std::vector<std::string> databases() {
        // With --prefix, --all means all names of it.
        if (!a_.all || !a_.rules.within || !prefix_.empty())
            return a_.databases;
        return list_databases(*store_).names;
    }

    void plan_uploads() {
        std::vector<std::string> prefixes{prefix_};
        if (prefix_.empty())
            prefixes = {kDefaultLayerPrefix, std::string(kDatabaseOperand)};
        for (const std::string& prefix : prefixes)
            for (StaleUpload& u : stale_uploads(*store_, prefix, now(), a_.uploads_older,
                                                state_ ? &*state_ : nullptr)) {
                report_.add(u);
                uploads_.push_back(std::move(u));
            }
    }

    /// What may be somebody's only copy goes like a layer without a name: marked, a day later.
    static Fate fate_of(const DeadPush& dead) {
        if (dead.may_be_missed() && !dead.marked)
            return Fate::mark;
        return dead.may_be_missed() && now_wall() - *dead.marked <= grace_period() ? Fate::keep
                                                                                   : Fate::remove;
    }

    void sweep(const std::function<Fate(const DeadPush&)>& judge) {
        if (state_)
            sweep_spools(*state_,
                         a_.spool_dir.empty() ? ctx_.settings().state_dir + "/spool" : a_.spool_dir,
                         judge);
    }

    void apply() {
        if (some_layers()) {
            auto deleting = ctx_.open_store(16, prune_delete_retry(), ctx_.stop());
            LayerPruner(*store_, *deleting, layer_prefix(), ctx_.log(), ctx_.stop())
                .run(layers_, totals_);
        }
        for (const ReplicaPlan& plan : replicas_)
            prune_replica(*store_, plan, totals_, ctx_.stop());
        abort_stale_uploads(*store_, uploads_, totals_, ctx_.stop());
        if (a_.local)
            sweep([&](const DeadPush& dead) {
                const Fate fate = fate_of(dead);
                if (fate == Fate::remove)
                    ++totals_.objects, totals_.bytes += dead.bytes;
                return fate;
            });
    }

    ToolContext& ctx_;
    const PruneArguments& a_;
    PruneReport report_;
    std::unique_ptr<ObjectStore> store_;
    std::string prefix_;
    std::optional<StateDb> state_;
    LayerPlan layers_;
    std::vector<ReplicaPlan> replicas_;
    std::vector<StaleUpload> uploads_;
    PruneTotals totals_;
    std::optional<Error> left_alone_; ///< the last
};

} // namespace

void run_prune(ToolContext& ctx, const PruneArguments& a) {
    Prune(ctx, a).run();
}

} // namespace zl
