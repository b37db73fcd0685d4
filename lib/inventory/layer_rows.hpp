/// Layers as a listing shows them.
#pragma once

#include "inventory/inventory.hpp"
#include "transfer/layer_meta.hpp"

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

/// A name with its newest layer, one push of a name, or a layer that nothing names.
struct LayerRow {
    std::string name;              ///< empty: nothing names it
    TimePoint time{};              ///< of the push; without a name: of the object
    std::uint64_t versions = 0;    ///< pushes of this name; 0 without one
    std::optional<TimePoint> from; ///< the oldest of them
    std::string digest;            ///< 64 hex digits, or 12 if the layer is not there
    /// layer, foreign, raw; `zlayer`: written by zlayer-storage (zl-pull reads it); `missing`: a
    /// name leads to it, but it is not there; `damaged`: its metadata cannot be read.
    std::string kind;
    std::optional<std::uint64_t> size; ///< of the stored object
    std::optional<LayerMeta> meta;
    bool doomed = false; ///< marked by zl-prune
};

/// Reads meta.json of each row, @p jobs at a time.
struct LayerLister {
    ObjectStore& store;
    const std::string& prefix;
    int jobs;
    std::stop_token stop;

    /// One row a name, by name; then layers without one, then raw ones.
    std::vector<LayerRow> overview() const;
    /// Each push of @p name, newest last; empty if there is none.
    std::vector<LayerRow> history(const std::string& name) const;

private:
    LayerRow row_of(const RefKey& ref, const LayerInventory& inventory) const;
    void read_meta(std::vector<LayerRow>& rows) const;
};

/// What meta.json makes of a layer.
std::string kind_of_layer(const std::optional<LayerMeta>& meta, bool raw);

} // namespace zl
