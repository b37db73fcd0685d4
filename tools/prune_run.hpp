/// What a run of zl-prune does: looks, reports its plan, carries it out.
#pragma once

#include "prune/keep_rules.hpp"
#include "prune/layer_plan.hpp"
#include "tool.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace zl {

/// An operand that begins with it is a database.
inline constexpr std::string_view kDatabaseOperand = "db/";

struct PruneArguments {
    KeepRules rules;
    Millis within{0}, uploads_older{0};
    bool all = false, local = false, apply = false;
    std::string generation, spool_dir, state_db;
    std::vector<std::string> operands;
    // Made of those.
    LayerScope layers;
    std::vector<std::string> databases; ///< without kDatabaseOperand
};

/// @p a is checked. Throws what the library throws, denied with the missing right as hint, and data
/// when --all had to leave a database alone; the plan and what was done are printed before.
void run_prune(ToolContext& ctx, const PruneArguments& a);

} // namespace zl
