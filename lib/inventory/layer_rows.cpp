#include "inventory/layer_rows.hpp"

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "transfer/layer_keys.hpp"

#include <algorithm>
#include <set>

namespace zl {

namespace {

void fill(LayerRow& row, const LayerObjects& l) {
    row.digest = l.digest;
    row.kind = l.raw ? "raw" : "layer";
    row.doomed = l.doomed.has_value();
    if (l.object) {
        row.size = l.object->size;
        if (row.name.empty())
            row.time = l.object->last_modified;
    }
}

/// The layer whose digest begins with @p digest12; null: none that has its object.
const LayerObjects* find_layer(const LayerInventory& inventory, const std::string& digest12) {
    for (bool raw : {false, true}) {
        auto found = std::lower_bound(inventory.layers.begin(), inventory.layers.end(), digest12,
                                      [&](const LayerObjects& l, const std::string& wanted) {
                                          return l.raw != raw ? l.raw < raw : l.digest < wanted;
                                      });
        for (; found != inventory.layers.end() && found->raw == raw &&
               found->digest.starts_with(digest12);
             ++found)
            if (found->object)
                return &*found;
    }
    return nullptr;
}

} // namespace

std::string kind_of_layer(const std::optional<LayerMeta>& meta, bool raw) {
    if (!meta || raw)
        return raw ? "raw" : "layer";
    // Every zl writes the hash of the stored bytes; zlayer-storage knows five fields only.
    if (meta->kind == "layer" && meta->blob_sha256.empty())
        return "zlayer";
    return meta->kind;
}

LayerRow LayerLister::row_of(const RefKey& ref, const LayerInventory& inventory) const {
    LayerRow row;
    row.name = ref.name;
    row.time = ref.time;
    row.digest = ref.digest12;
    row.kind = "missing";
    if (const LayerObjects* l = find_layer(inventory, ref.digest12))
        fill(row, *l);
    return row;
}

void LayerLister::read_meta(std::vector<LayerRow>& rows) const {
    parallel_for(rows.size(), jobs, [&](std::size_t i) {
        if (stop.stop_requested())
            throw Interrupted();
        LayerRow& row = rows[i];
        if (row.kind == "missing")
            return;
        const bool raw = row.kind == "raw";
        try {
            row.meta = read_layer_meta(store, raw ? raw_meta_key(prefix, row.digest)
                                                  : layer_meta_key(prefix, row.digest));
            row.kind = kind_of_layer(row.meta, raw);
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::data)
                throw;
            row.kind = "damaged";
        }
    });
}

std::vector<LayerRow> LayerLister::overview() const {
    const LayerInventory inventory = list_layers(store, prefix);
    std::vector<LayerRow> rows;
    std::set<std::string> named;
    for (std::size_t i = 0; i < inventory.refs.size(); ++i) {
        const RefKey& ref = inventory.refs[i];
        named.insert(ref.digest12);
        if (i == 0 || inventory.refs[i - 1].name != ref.name)
            rows.push_back({});
        const std::uint64_t versions = rows.back().versions + 1;
        const TimePoint from = rows.back().from.value_or(ref.time);
        rows.back() = row_of(ref, inventory);
        rows.back().versions = versions;
        rows.back().from = from;
    }
    for (const LayerObjects& l : inventory.layers)
        if (l.object && !named.contains(l.digest.substr(0, 12))) {
            rows.emplace_back();
            fill(rows.back(), l);
        }
    read_meta(rows);
    return rows;
}

std::vector<LayerRow> LayerLister::history(const std::string& name) const {
    LayerInventory inventory = list_layers(store, prefix);
    std::vector<LayerRow> rows;
    for (const RefKey& ref : inventory.refs)
        if (ref.name == name) {
            rows.push_back(row_of(ref, inventory));
            rows.back().versions = 1;
        }
    read_meta(rows);
    return rows;
}

} // namespace zl
