/// zl-push --dry-run: where would it go, as whom, may it, and what is unfinished.
#pragma once

#include "tool.hpp"
#include "transfer/pusher.hpp"

namespace zl {

/// Makes each kind of request that a push makes, and changes nothing: it looks for a layer, lists
/// the refs of NAME, and begins an upload that it aborts. Prints what it found as it finds it, or
/// one object with --json. Throws what a request throws: denied (77) says which right is missing.
void push_dry_run(ToolContext& context, Pusher& pusher, const PushOptions& options,
                  ObjectStore& store);

} // namespace zl
