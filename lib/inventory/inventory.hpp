/// What a store holds, from its listings alone: nothing is read but keys, sizes and times.
#pragma once

#include "store/object_store.hpp"
#include "transfer/refs.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

/// The objects of one digest. Any of them may be missing.
struct LayerObjects {
    std::string digest; ///< 64 hex digits
    bool raw = false;   ///< below PREFIXraw/
    std::optional<ObjectInfo> object, meta, doomed;
};

struct LayerInventory {
    /// By name, then oldest first. Names are such as zl-push allows.
    std::vector<RefKey> refs;
    /// Ascending by digest, raw ones behind the others.
    std::vector<LayerObjects> layers;
    /// Keys below the prefix that are none of ours, as they stand: hostile until escaped. All of
    /// them: a prune keeps what they may name.
    std::vector<std::string> unknown;
};

/// Everything below @p prefix (`layers/`) in one listing. Memory: about 1 KiB a layer, and
/// the keys that are none of ours.
LayerInventory list_layers(ObjectStore& store, const std::string& prefix);

struct DatabaseInventory {
    /// Names (without `db/`) of what has a snapshot, a segment, a merged one or metadata.json.
    /// Ascending.
    std::vector<std::string> names;
    /// Keys and prefixes (ending in `/`) that lead to no database.
    std::vector<std::string> unknown;
};

/// All databases below `db/`. One listing with delimiter for each part of a name, none of what a
/// database holds.
DatabaseInventory list_databases(ObjectStore& store);
/// Whether a replica lies directly at @p prefix (`db/app/`, or --prefix): one listing.
bool holds_database(ObjectStore& store, const std::string& prefix);

} // namespace zl
