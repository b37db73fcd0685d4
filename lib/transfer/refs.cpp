#include "transfer/refs.hpp"

#include "base/json.hpp"
#include "store/name.hpp"
#include "stream/hash.hpp"
#include "transfer/layer_keys.hpp"

#include <algorithm>
#include <cctype>
#include <tuple>

namespace zl {

namespace {

constexpr std::size_t kDigest12 = 12;
constexpr std::size_t kMinDigestPrefix = 8;

bool is_hex(std::string_view s) {
    return std::all_of(s.begin(), s.end(),
                       [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string lower(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return s;
}

bool older(const RefKey& a, const RefKey& b) {
    return std::tie(a.time, a.key) < std::tie(b.time, b.key);
}

std::string differs_from_key(const Json& j, const RefKey& key) {
    for (const auto& [field, wanted] :
         {std::pair<const char*, std::string>{"name", key.name},
          {"created_at", format_rfc3339(key.time)}}) {
        const auto is = j.find(field);
        if (is == j.end() || *is != wanted)
            return std::string(field) + (is == j.end() ? " is missing" : " " + dump_json(*is)) +
                   ", its key says " + wanted;
    }
    return {};
}

Resolved from_ref(ObjectStore& store, const RefKey& key, const std::string& how) {
    Ref ref = read_ref(store, key);
    return {ref.digest, ref.kind == "raw",
            how + " of " + ref.name + ", pushed " + format_rfc3339(key.time)};
}

/// A ref that was listed may be pruned before it is read: there is a newer one then, or there is
/// none. @p find lists anew.
template <typename F>
auto listed_again(F find) {
    for (int attempt = 1;; ++attempt) {
        try {
            return find();
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::not_found || attempt == 3)
                throw;
        }
    }
}

std::optional<Resolved> by_name(ObjectStore& store, const std::string& prefix,
                                const std::string& name, const std::optional<TimePoint>& at) {
    std::vector<RefKey> refs = list_refs(store, prefix, name);
    if (refs.empty())
        return std::nullopt;
    if (!at)
        return from_ref(store, refs.back(), "newest");
    const RefKey* found = nullptr;
    for (const RefKey& r : refs)
        if (r.time <= *at)
            found = &r;
    if (!found)
        throw Error(ErrorKind::not_found,
                    "no layer of " + name + " is as old as " + format_rfc3339(*at),
                    "the oldest is of " + format_rfc3339(refs.front().time));
    return from_ref(store, *found, "newest not after " + format_rfc3339(*at));
}

std::optional<Resolved> by_digest_prefix(ObjectStore& store, const std::string& prefix,
                                         const std::string& hex) {
    std::vector<Resolved> found;
    for (bool raw : {false, true}) {
        std::string dir = raw ? prefix + "raw/" : prefix;
        store.list(dir + hex, {}, [&](const ObjectInfo& o) {
            std::string rest = o.key.substr(dir.size());
            bool is_object =
                raw ? rest.size() == 64 : rest.size() == 72 && rest.ends_with(".tar.zst");
            if (is_object && is_hex(std::string_view(rest).substr(0, 64)))
                found.push_back({rest.substr(0, 64), raw, "digest prefix " + hex, true});
            return found.size() < 3;
        });
    }
    if (found.size() > 1)
        throw Error(ErrorKind::data, "digest prefix " + hex + " is not unique",
                    "it fits " + found[0].digest + " and " + found[1].digest);
    return found.empty() ? std::nullopt : std::optional(found[0]);
}

Resolved newest_of_all(ObjectStore& store, const std::string& prefix) {
    std::optional<RefKey> newest;
    store.list(prefix + "refs/", {}, [&](const ObjectInfo& o) {
        auto r = parse_ref_key(prefix, o.key);
        if (r && (!newest || older(*newest, *r)))
            newest = r;
        return true;
    });
    if (!newest)
        throw Error(ErrorKind::not_found,
                    "no layer is named in " + store.describe(prefix + "refs/") +
                        ", so there is no latest one",
                    "zl-push --name NAME makes one");
    return from_ref(store, *newest, "latest");
}

} // namespace

std::string ref_key(const std::string& prefix, const Ref& ref) {
    return refs_prefix(prefix, ref.name) + format_key_time(ref.created_at) + "-" +
           ref.digest.substr(0, kDigest12) + ".json";
}

std::optional<RefKey> parse_ref_key(const std::string& prefix, const std::string& key) {
    std::string root = prefix + "refs/";
    auto slash = key.rfind('/');
    if (!key.starts_with(root) || slash < root.size())
        return std::nullopt;
    std::string file = key.substr(slash + 1);
    auto dash = file.rfind('-');
    if (!file.ends_with(".json") || dash == std::string::npos)
        return std::nullopt;
    auto time = parse_key_time(file.substr(0, dash));
    std::string digest12 = file.substr(dash + 1, file.size() - dash - 6);
    if (!time || digest12.size() != kDigest12 || !is_hex(digest12))
        return std::nullopt;
    return RefKey{key.substr(root.size(), slash - root.size()), *time, digest12, key};
}

std::vector<RefKey> list_refs(ObjectStore& store, const std::string& prefix,
                              const std::string& name) {
    std::vector<RefKey> out;
    ListOptions options;
    options.delimiter = true;
    store.list(refs_prefix(prefix, name), options, [&](const ObjectInfo& o) {
        if (auto r = parse_ref_key(prefix, o.key); r && r->name == name)
            out.push_back(*r);
        return true;
    });
    // Keys of another spelling of the time (YYYYMMDD_HHMMSS) do not sort as text with ours.
    std::sort(out.begin(), out.end(), older);
    return out;
}

void write_ref(ObjectStore& store, const std::string& prefix, const Ref& ref) {
    Json j;
    j["name"] = ref.name;
    j["digest"] = ref.digest;
    j["kind"] = ref.kind;
    j["created_at"] = format_rfc3339(ref.created_at);
    if (ref.incomplete)
        j["incomplete"] = true;
    if (ref.tags != "{}")
        j["tags"] = parse_json(ref.tags, "tags");
    put_text(store, ref_key(prefix, ref), dump_json(j) + "\n");
}

Ref read_ref(ObjectStore& store, const RefKey& key) {
    auto text = get_text(store, key.key);
    if (!text)
        throw Error(ErrorKind::not_found, store.describe(key.key) + ": vanished meanwhile");
    std::string what = store.describe(key.key);
    Json j = parse_json(*text, what);
    Ref ref;
    ref.name = key.name;
    ref.created_at = key.time;
    ref.digest = json_string(j, "digest", what);
    if (j.contains("kind"))
        ref.kind = json_string(j, "kind", what);
    if (!Digest::from_hex(ref.digest) || ref.digest.substr(0, kDigest12) != key.digest12)
        throw Error(ErrorKind::data,
                    what + ": names the digest " + ref.digest + ", its key " + key.digest12);
    ref.differs = differs_from_key(j, key);
    return ref;
}

Resolved resolve_ref(ObjectStore& store, const std::string& prefix, const std::string& ref) {
    if (ref.starts_with("sha256:") || ref.size() == 64) {
        std::string hex = lower(ref.starts_with("sha256:") ? ref.substr(7) : ref);
        if (Digest::from_hex(hex)) {
            bool raw = !store.head(layer_key(prefix, hex)) && store.head(raw_key(prefix, hex));
            return {hex, raw, "digest", true};
        }
        if (ref.starts_with("sha256:"))
            throw Error(ErrorKind::usage, ref + ": 64 hex digits must follow sha256:");
    }
    if (ref == "latest")
        return listed_again([&] { return newest_of_all(store, prefix); });
    auto at = ref.rfind('@');
    std::string name = ref.substr(0, at);
    std::optional<TimePoint> time;
    if (at != std::string::npos)
        time = parse_time(ref.substr(at + 1));
    bool hex = !time && name.size() >= kMinDigestPrefix && name.size() < 64 && is_hex(lower(name));
    if (hex) {
        if (auto r = by_digest_prefix(store, prefix, lower(name)))
            return *r;
    } else {
        check_name(name);
        if (auto r = listed_again([&] { return by_name(store, prefix, name, time); }))
            return *r;
    }
    throw Error(ErrorKind::not_found,
                (hex ? "no layer whose digest starts with " : "no layer named ") + name + " in " +
                    store.describe(prefix),
                hex ? "zl-pull NAME takes the newest of a name"
                    : "names are made by zl-push --name; zl-pull latest takes the newest of all");
}

} // namespace zl
