#include "prune/layer_plan.hpp"

#include "base/error.hpp"

#include <algorithm>

namespace zl {

namespace {

using Action = LayerDecision::Action;
constexpr std::size_t kDigest12 = 12;

/// `...-{12 hex digits}.json`: the digits; empty: none.
std::string digest12_of(const std::string& key) {
    constexpr std::string_view suffix = ".json";
    if (!key.ends_with(suffix) || key.size() < suffix.size() + kDigest12 + 1)
        return {};
    std::string digits = key.substr(key.size() - suffix.size() - kDigest12, kDigest12);
    const bool hex = digits.find_first_not_of("0123456789abcdef") == std::string::npos;
    return hex ? digits : std::string();
}

std::string short_digest(const LayerObjects& layer) {
    return layer.digest.substr(0, kDigest12);
}

class Planner {
public:
    Planner(const LayerInventory& inventory, const LayerScope& scope, const KeepRules& rules,
            const ReadRef& read, TimePoint now, Millis grace)
        : inventory_(inventory), scope_(scope), rules_(rules), read_(read), now_(now),
          grace_(grace) {
        for (const LayerObjects& l : inventory.layers)
            if (l.object)
                stored_.insert({l.raw, l.digest});
        for (const std::string& key : inventory.unknown)
            if (auto digits = digest12_of(key); !digits.empty())
                named_after_.insert(digits);
    }

    LayerPlan run() {
        const auto& refs = inventory_.refs;
        for (std::size_t begin = 0, end = 0; begin < refs.size(); begin = end) {
            while (end < refs.size() && refs[end].name == refs[begin].name)
                ++end;
            decide_refs(begin, end);
        }
        for (const LayerObjects& l : inventory_.layers)
            decide_layer(l);
        return std::move(plan_);
    }

private:
    /// Refs [begin, end) are those of one name.
    void decide_refs(std::size_t begin, std::size_t end) {
        const auto& refs = inventory_.refs;
        const bool ours = scope_.includes(refs[begin].name);
        std::vector<KeepMoment> moments;
        for (std::size_t i = begin; i < end; ++i)
            moments.push_back({refs[i].time, false});
        // Who has only one keeps it anyway.
        for (std::size_t i = end; ours && end - begin > 1 && i-- > begin;)
            if ((moments[i - begin].good = leads_to_layer(refs[i])))
                break;
        auto reasons = ours ? keep_reasons(moments, rules_, now_)
                            : std::vector<std::vector<std::string>>(moments.size());
        for (std::size_t i = begin; i < end; ++i) {
            if (!ours || !reasons[i - begin].empty())
                named_after_.insert(refs[i].digest12);
            else
                loses_name_.insert(refs[i].digest12);
            if (ours)
                plan_.refs.push_back({refs[i], std::move(reasons[i - begin])});
        }
    }

    /// Its digits alone do not tell: the ref itself may be damaged.
    bool leads_to_layer(const RefKey& key) const {
        const auto ref = read_(key);
        return ref && stored_.contains({ref->kind == "raw", ref->digest});
    }

    void decide_layer(const LayerObjects& l) {
        const std::string digits = short_digest(l);
        if (named_after_.contains(digits)) {
            if (l.doomed)
                add(Action::unmark, l, "marked, but named again");
            return;
        }
        // A mark of before is older than the moment when the last name goes: it begins anew.
        if (loses_name_.contains(digits))
            return add(Action::mark, l, "loses its last name");
        const TimePoint youngest = std::max(l.object ? l.object->last_modified : TimePoint{},
                                            l.meta ? l.meta->last_modified : TimePoint{});
        if (l.doomed) {
            const TimePoint due = std::max(youngest, l.doomed->last_modified) + grace_;
            if (now_ >= due)
                add(Action::remove, l,
                    "no name, marked " + format_rfc3339(l.doomed->last_modified));
            else
                add(Action::wait, l, "no name, marked", due);
        } else if (scope_.all) {
            if (now_ >= youngest + grace_)
                add(Action::mark, l, "no name");
            else
                add(Action::wait, l, "no name yet", youngest + grace_);
        }
    }

    void add(Action action, const LayerObjects& l, std::string why, TimePoint until = {}) {
        plan_.layers.push_back({action, l, std::move(why), until});
    }

    const LayerInventory& inventory_;
    const LayerScope& scope_;
    const KeepRules& rules_;
    const ReadRef& read_;
    TimePoint now_;
    Millis grace_;
    std::set<std::pair<bool, std::string>> stored_; ///< raw, digest
    std::set<std::string> named_after_, loses_name_;
    LayerPlan plan_;
};

} // namespace

bool LayerScope::includes(const std::string& name) const {
    return all || std::find(names.begin(), names.end(), name) != names.end();
}

std::uint64_t LayerDecision::objects() const {
    return (layer.object ? 1u : 0u) + (layer.meta ? 1u : 0u);
}

std::uint64_t LayerDecision::bytes() const {
    return (layer.object ? layer.object->size : 0) + (layer.meta ? layer.meta->size : 0);
}

std::set<std::string> named_digests(ObjectStore& store, const std::string& prefix) {
    std::set<std::string> out;
    store.list(prefix + "refs/", {}, [&](const ObjectInfo& o) {
        if (auto digits = digest12_of(o.key); !digits.empty())
            out.insert(std::move(digits));
        return true;
    });
    return out;
}

ReadRef read_refs_of(ObjectStore& store) {
    return [&store](const RefKey& key) -> std::optional<Ref> {
        try {
            return read_ref(store, key);
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::data && e.kind() != ErrorKind::not_found)
                throw;
            return std::nullopt;
        }
    };
}

LayerPlan plan_layers(const LayerInventory& inventory, const LayerScope& scope,
                      const KeepRules& rules, const ReadRef& read, TimePoint now, Millis grace) {
    for (const std::string& name : scope.names)
        if (std::none_of(inventory.refs.begin(), inventory.refs.end(),
                         [&](const RefKey& r) { return r.name == name; }))
            throw Error(ErrorKind::not_found, "no layer named " + name,
                        "zl-ls shows what the store holds");
    return Planner(inventory, scope, rules, read, now, grace).run();
}

} // namespace zl
