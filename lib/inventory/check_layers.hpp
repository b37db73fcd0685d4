/// Whether the layers of a store are whole: refs, metadata, objects.
#pragma once

#include "inventory/findings.hpp"
#include "inventory/inventory.hpp"

#include <string>

namespace zl {

/// What to look at; both empty: everything.
struct LayerSelection {
    std::string name;   ///< the refs of this name and their layers
    std::string digest; ///< this layer and the refs that lead to it
};

/// Throws not_found when the selection fits nothing; what the store throws otherwise. A finding is
/// no exception.
///   a ref        leads to a layer that is there; says what its key says (else a note)
///   meta.json    is there, can be read, and agrees with the object and its trailer
///   the object   has its size and a true trailer of its digest; full: every byte (layer_data.hpp)
/// Layers that nothing names and that have no meta.json, marks of zl-prune and foreign keys are
/// notes.
void check_layers(const CheckContext& context, const std::string& prefix,
                  const LayerSelection& selection);

} // namespace zl
