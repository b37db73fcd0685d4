/// zl-walship as it runs: restore, attach, stand before a command, drain.
///
/// Order, and what a kill leaves (see also replicator.hpp, restorer.hpp):
///   locked      `DB.zl/lock`; dies with us
///   restored    the database is as before or complete
///   attached    nothing that is committed from here on is missed
///   running     the command, if there is one. Killed here, it runs on without us (as process 1: it
///               is killed too); what it commits is in its WAL, and the next start ships it
///   draining    what is not in the store is in the cache or in the WAL: the next start ships it
#pragma once

#include "ship_pulse.hpp"
#include "supervisor.hpp"
#include "tool.hpp"
#include "wal/replica_keys.hpp"
#include "wal/replicator.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

/// What the command line comes to.
struct ShipJob {
    ReplicatorOptions replicator;
    ReplicaKeys keys{""};
    std::vector<std::string> command;
    bool auto_restore = true;
    bool wait = false;            ///< for an absent database
    bool stop_on_failure = false; ///< end the command when shipping fails for good
};

/// There, and not an empty file without a WAL (which auto-restore takes for absent).
bool database_there(const std::string& database);
/// The status from what is on disk: of a shipper that does not run.
ShipStatus offline_status(const ShipJob& job);

/// Returns the exit code; throws what is to be reported.
int ship(ToolContext& context, const ShipJob& job);
/// --once.
int ship_once(ToolContext& context, const ShipJob& job);

} // namespace zl
