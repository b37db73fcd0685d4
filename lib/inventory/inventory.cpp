#include "inventory/inventory.hpp"

#include "store/name.hpp"
#include "stream/hash.hpp"
#include "transfer/layer_keys.hpp"

#include <algorithm>
#include <tuple>

namespace zl {

namespace {

constexpr std::size_t kDigestSize = 64;

/// The member of LayerObjects that what follows the digest stands for; null: none.
std::optional<ObjectInfo> LayerObjects::*member_of(std::string_view rest, bool raw) {
    if (rest == (raw ? "" : ".tar.zst"))
        return &LayerObjects::object;
    if (rest == ".meta.json")
        return &LayerObjects::meta;
    if (rest == ".doomed")
        return &LayerObjects::doomed;
    return nullptr;
}

bool is_digest(std::string_view text) {
    auto digest = Digest::from_hex(text);
    return digest && digest->hex() == text; // keys have lower case
}

class LayerLister {
public:
    explicit LayerLister(const std::string& prefix) : prefix_(prefix) {}

    void add(const ObjectInfo& o) {
        if (o.key.starts_with(prune_notices_prefix(prefix_)))
            return; // notes of zl-prune to pushes, gone soon
        if (o.key.starts_with(prefix_ + "refs/") ? !add_ref(o) : !add_layer(o))
            out_.unknown.push_back(o.key);
    }

    LayerInventory take() {
        std::sort(out_.refs.begin(), out_.refs.end(), [](const RefKey& a, const RefKey& b) {
            return std::tie(a.name, a.time, a.key) < std::tie(b.name, b.time, b.key);
        });
        return std::move(out_);
    }

private:
    bool add_ref(const ObjectInfo& o) {
        auto ref = parse_ref_key(prefix_, o.key);
        if (!ref || !is_layer_name(ref->name))
            return false;
        out_.refs.push_back(std::move(*ref));
        return true;
    }

    bool add_layer(const ObjectInfo& o) {
        std::string_view name = std::string_view(o.key).substr(prefix_.size());
        const bool raw = name.starts_with("raw/");
        name.remove_prefix(raw ? 4 : 0);
        if (name.size() < kDigestSize)
            return false;
        const std::string_view digest = name.substr(0, kDigestSize);
        auto member = member_of(name.substr(kDigestSize), raw);
        if (!member || !is_digest(digest))
            return false;
        // Listings come in the order of keys: what belongs together follows each other.
        if (out_.layers.empty() || out_.layers.back().digest != digest ||
            out_.layers.back().raw != raw)
            out_.layers.push_back({std::string(digest), raw, {}, {}, {}});
        out_.layers.back().*member = o;
        return true;
    }

    const std::string& prefix_;
    LayerInventory out_;
};

/// One level of names below `db/`.
struct Level {
    bool database = false;
    std::vector<std::string> below, unknown; ///< prefixes; keys
};

bool is_database_directory(std::string_view name) {
    return name == "snapshots/" || name == "wal/" || name == "merged/";
}

Level list_level(ObjectStore& store, const std::string& prefix) {
    Level level;
    ListOptions options;
    options.delimiter = true;
    store.list(prefix, options, [&](const ObjectInfo& o) {
        const std::string_view name = std::string_view(o.key).substr(prefix.size());
        if (name == "metadata.json" || is_database_directory(name))
            level.database = true;
        else if (name.ends_with('/'))
            level.below.push_back(o.key);
        else
            level.unknown.push_back(o.key);
        return true;
    });
    return level;
}

} // namespace

LayerInventory list_layers(ObjectStore& store, const std::string& prefix) {
    LayerLister lister(prefix);
    store.list(prefix, {}, [&](const ObjectInfo& o) {
        lister.add(o);
        return true;
    });
    return lister.take();
}

DatabaseInventory list_databases(ObjectStore& store) {
    const std::string root = "db/";
    DatabaseInventory out;
    std::vector<std::string> open{root};
    while (!open.empty()) {
        const std::string prefix = std::move(open.back());
        open.pop_back();
        const std::string name =
            prefix == root ? "" : prefix.substr(root.size(), prefix.size() - root.size() - 1);
        const bool valid = is_db_name(name);
        // `latest` or 8 hex digits are no name, but may begin one.
        if (!name.empty() && !valid && !is_db_name(name + "/x")) {
            out.unknown.push_back(prefix);
            continue;
        }
        Level level = list_level(store, prefix);
        if (level.database && valid)
            out.names.push_back(name);
        else if (level.database)
            out.unknown.push_back(prefix);
        out.unknown.insert(out.unknown.end(), level.unknown.begin(), level.unknown.end());
        open.insert(open.end(), level.below.begin(), level.below.end());
    }
    std::sort(out.names.begin(), out.names.end());
    std::sort(out.unknown.begin(), out.unknown.end());
    return out;
}

bool holds_database(ObjectStore& store, const std::string& prefix) {
    return list_level(store, prefix).database;
}

} // namespace zl
