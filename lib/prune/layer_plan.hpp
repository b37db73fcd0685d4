/// What a prune does to refs and layers, from a listing and the newest ref of each name.
///
/// Refs that no rule keeps go. A layer that no ref names goes in two phases: it is marked, and
/// deleted by a run after the grace period of its mark, if it and its meta.json are older than that
/// too. Of a prune of certain names only those layers are marked that lose their last name by it;
/// of all names, also those that have none for another reason. What is marked is deleted by either.
#pragma once

#include "inventory/inventory.hpp"
#include "prune/keep_rules.hpp"

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace zl {

struct LayerScope {
    bool all = false;
    std::vector<std::string> names; ///< if not all
    bool includes(const std::string& name) const;
};

struct RefDecision {
    RefKey ref;
    std::vector<std::string> reasons; ///< to keep it; empty: it goes
    bool keep() const { return !reasons.empty(); }
};

struct LayerDecision {
    enum class Action {
        mark,   ///< first phase
        wait,   ///< marked, or without a name, but too young
        remove, ///< second phase
        unmark, ///< marked, but named again
    } action = Action::mark;
    LayerObjects layer;
    std::string why;
    TimePoint until{}; ///< wait: when it may go on
    std::uint64_t objects() const;
    std::uint64_t bytes() const;
};

struct LayerPlan {
    std::vector<RefDecision> refs;     ///< of the scope; by name, then oldest first
    std::vector<LayerDecision> layers; ///< those that something happens to
};

/// First 12 digits of the digests that keys below PREFIXrefs/ name. Also of keys that we cannot
/// read as a ref otherwise: when in doubt a layer is named.
std::set<std::string> named_digests(ObjectStore& store, const std::string& prefix);

/// What the ref says; nullopt: it is damaged, or gone meanwhile.
using ReadRef = std::function<std::optional<Ref>(const RefKey& key)>;
ReadRef read_refs_of(ObjectStore& store);

/// Throws not_found for a name of @p scope that has no ref. @p read: asked for the refs of a name
/// that may lose some, from the newest on, until one leads to a layer that is there (P1). @p now: by
/// the store's clock.
LayerPlan plan_layers(const LayerInventory& inventory, const LayerScope& scope,
                      const KeepRules& rules, const ReadRef& read, TimePoint now, Millis grace);

} // namespace zl
