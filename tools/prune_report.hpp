/// What zl-prune would do or does, in rows for people or JSON lines for programs.
#pragma once

#include "prune/layer_plan.hpp"
#include "prune/replica_pruner.hpp"
#include "prune/upload_pruner.hpp"
#include "table.hpp"
#include "tool.hpp"
#include "transfer/spool_sweep.hpp"

#include <string>
#include <vector>

namespace zl {

class PruneReport {
public:
    /// @p applied: the plan is carried out.
    PruneReport(ToolContext& ctx, bool applied) : ctx_(ctx), applied_(applied) {}

    // What is planned; counted.
    void add(const LayerPlan& plan);
    /// @p name `db/app`
    void add(const std::string& name, const ReplicaPlan& plan);
    void add(const StaleUpload& upload);
    void add(const DeadPush& dead, Fate fate);

    /// The rows, to stdout.
    void print_plan();
    /// The last line, and the metrics. @p totals: what was deleted (applied); @p whole: nothing of
    /// the plan failed.
    void print_summary(const PruneTotals& totals, bool whole);

private:
    struct Row {
        std::string action, kind, what;
        std::string time{}; ///< RFC 3339; empty: none
        std::uint64_t bytes = 0;
        std::string why{};
        Json more = Json::object();
    };
    std::string describe(const PruneTotals& totals, bool whole) const;

    ToolContext& ctx_;
    bool applied_;
    std::vector<Row> rows_;
    std::uint64_t objects_ = 0, bytes_ = 0;             ///< that go in this run
    std::uint64_t later_objects_ = 0, later_bytes_ = 0; ///< marked ones
};

} // namespace zl
