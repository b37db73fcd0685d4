#include "inventory/check_layers.hpp"

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "inventory/layer_data.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/spool.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace zl {

namespace {

/// Layers from this size on are read one after the other, each by several requests at once.
constexpr std::uint64_t kBigLayer = 16 << 20;
constexpr std::size_t kNamesShown = 3;
constexpr std::size_t kDigest12 = 12; ///< of the digits in a ref's key

constexpr const char* kPushAgain = "push the same content again with --force; an older version of "
                                   "a name is had with zl-pull NAME@TIME";

std::string label(const RefKey& ref) {
    return ref.name + "@" + format_rfc3339(ref.time);
}

class LayerCheck {
public:
    LayerCheck(const CheckContext& c, const std::string& prefix) : c_(c), prefix_(prefix) {}

    void run(const LayerSelection& selection) {
        inventory_ = list_layers(c_.store, prefix_);
        select(selection);
        read_refs();
        check_refs();
        for (bool big : {false, true})
            check_objects(big);
        if (selection.name.empty() && selection.digest.empty())
            c_.report.unknown(inventory_.unknown, "", prefix_);
    }

private:
    using Names = std::vector<std::string>;

    void select(const LayerSelection& s) {
        if (s.name.empty() && s.digest.empty())
            return;
        std::erase_if(inventory_.refs, [&](const RefKey& r) {
            return s.name.empty() ? !s.digest.starts_with(r.digest12) : r.name != s.name;
        });
        std::erase_if(inventory_.layers, [&](const LayerObjects& l) {
            // A damaged ref has the digits of its layer in its key only.
            return s.name.empty() ? !l.digest.starts_with(s.digest.substr(0, kDigest12))
                                  : std::none_of(inventory_.refs.begin(), inventory_.refs.end(),
                                                 [&](const RefKey& r) {
                                                     return l.digest.starts_with(r.digest12);
                                                 });
        });
        if (inventory_.refs.empty() && inventory_.layers.empty())
            throw Error(ErrorKind::not_found,
                        "no layer " + (s.name.empty() ? "sha256:" + s.digest : "named " + s.name) +
                            " in " + c_.store.describe(prefix_));
    }

    void damage(const Names& names, const std::string& key, const std::string& what,
                const std::string& advice) {
        add(true, names, key, what, advice);
    }
    void add(bool is_damage, const Names& names, const std::string& key, const std::string& what,
             const std::string& advice) {
        Finding f;
        f.damage = is_damage;
        f.key = key;
        f.what = what;
        f.advice = advice;
        f.subject = names.empty() ? "" : names.front();
        for (std::size_t i = 0; i < std::min(names.size(), kNamesShown); ++i)
            f.affects += (i ? ", " : "") + names[i];
        if (names.size() > kNamesShown)
            f.affects += " and " + std::to_string(names.size() - kNamesShown) + " more";
        c_.report.add(f);
    }

    /// Fills refs_: what each key's object says; nullopt: damaged or gone.
    void read_refs() {
        refs_.resize(inventory_.refs.size());
        parallel_for(refs_.size(), c_.jobs, [&](std::size_t i) {
            c_.check_stop();
            const RefKey& key = inventory_.refs[i];
            try {
                Ref ref = read_ref(c_.store, key);
                kind_from_name(ref.kind);
                if (!ref.differs.empty())
                    add(false, {label(key)}, key.key, ref.differs + ": readers go by the key", "");
                refs_[i] = std::move(ref);
            } catch (const Error& e) {
                if (e.kind() == ErrorKind::not_found)
                    return; // pruned meanwhile
                if (e.kind() != ErrorKind::data && e.kind() != ErrorKind::usage)
                    throw;
                damage_ref(key, e.message());
            }
            c_.report.checked(0);
        });
        for (std::size_t i = 0; i < refs_.size(); ++i)
            if (refs_[i])
                names_[refs_[i]->digest].push_back(label(inventory_.refs[i]));
    }
    void damage_ref(const RefKey& key, const std::string& what) {
        damage({label(key)}, key.key, what,
               "the layer may still be whole: zl-ls " + key.digest12 +
                   "; push the same content again under this name");
    }

    void check_refs() {
        for (std::size_t i = 0; i < refs_.size(); ++i) {
            if (!refs_[i])
                continue;
            const Ref& ref = *refs_[i];
            const bool raw = ref.kind == "raw";
            auto layer = std::lower_bound(inventory_.layers.begin(), inventory_.layers.end(),
                                          std::tie(raw, ref.digest),
                                          [](const LayerObjects& l, const auto& wanted) {
                                              return std::tie(l.raw, l.digest) < wanted;
                                          });
            if (layer != inventory_.layers.end() && layer->digest == ref.digest &&
                layer->raw == raw && layer->object)
                continue;
            // It may have come since the listing, or the ref may have gone.
            const std::string key =
                raw ? raw_key(prefix_, ref.digest) : layer_key(prefix_, ref.digest);
            const RefKey& from = inventory_.refs[i];
            if (c_.store.head(key) || !c_.store.head(from.key))
                continue;
            if (const LayerObjects* meant = stored_as(from.digest12))
                damage_ref(from, "leads to " + key + ", which is not there, but " +
                                     meant->object->key + " is");
            else
                damage({label(from)}, key, "missing, though a name leads to it", kPushAgain);
        }
    }
    /// The layer that is there and that a ref with these digits in its key must mean.
    const LayerObjects* stored_as(const std::string& digest12) const {
        for (const LayerObjects& l : inventory_.layers)
            if (l.object && l.digest.starts_with(digest12))
                return &l;
        return nullptr;
    }

    void check_objects(bool big) {
        std::vector<const LayerObjects*> chosen;
        for (const LayerObjects& l : inventory_.layers)
            if (big == (c_.full && l.object && l.object->size >= kBigLayer))
                chosen.push_back(&l);
        parallel_for(chosen.size(), big ? 1 : c_.jobs, [&](std::size_t i) {
            c_.check_stop();
            check_object(*chosen[i], big ? c_.jobs : 1);
        });
    }

    Names names_of(const std::string& digest) const {
        auto found = names_.find(digest);
        return found == names_.end() ? Names() : found->second;
    }

    void check_object(const LayerObjects& l, int jobs) {
        const Names names = names_of(l.digest);
        if (l.doomed)
            add(false, names, l.doomed->key, "marked for deletion by zl-prune", "");
        const std::string key = l.raw ? raw_key(prefix_, l.digest) : layer_key(prefix_, l.digest);
        if (!l.object) {
            // check_refs() says it of the names; without one it is a left-over.
            if (names.empty() && l.meta && !l.doomed && !c_.store.head(key))
                damage(names, key, "missing, though " + l.meta->key + " is there",
                       "if the content still exists, push it again");
            return;
        }
        try {
            check_present(l, names, jobs);
        } catch (const Error& e) {
            if (e.kind() == ErrorKind::conflict)
                add(false, names, key, "changed while it was read: not checked", "run it again");
            else if (e.kind() == ErrorKind::data) // what a store keeps beside it
                damage(names, key, e.message(), kPushAgain);
            else
                throw;
        }
    }

    std::optional<LayerMeta> check_meta(const LayerObjects& l, const Names& names) {
        const std::string key = meta_key_of(l);
        std::optional<LayerMeta> meta;
        try {
            meta = read_layer_meta(c_.store, key);
            c_.report.checked(0);
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::data)
                throw;
            damage(names, key, e.message(), meta_advice());
            return std::nullopt;
        }
        if (!meta && names.empty())
            add(false, names, key, "missing: the push of this layer has not ended",
                "zl-push --resume, where it was begun");
        else if (!meta)
            damage(names, key, "missing", meta_advice());
        return meta;
    }
    std::string meta_key_of(const LayerObjects& l) const {
        return l.raw ? raw_meta_key(prefix_, l.digest) : layer_meta_key(prefix_, l.digest);
    }
    static const char* meta_advice() {
        return "the layer itself may be whole; pushing the same content again with --force writes "
               "its metadata anew";
    }

    void check_present(const LayerObjects& l, const Names& names, int jobs) {
        auto object = c_.store.head(l.object->key);
        if (!object)
            return; // pruned meanwhile
        const std::optional<LayerMeta> meta = check_meta(l, names);
        std::optional<LayerEnd> end;
        if (!l.raw && object->size > 0)
            end = read_layer_end(c_.store, *object);
        const std::string fault = fault_of_object(l, *object, meta, end);
        const std::string why = fault.empty() ? fault_of_meta(l, *object, meta, end) : "";
        if (!fault.empty() || !why.empty())
            require_same(*object); // a push with --force replaces both, one after the other
        if (!fault.empty())
            damage(names, object->key, fault, kPushAgain);
        else if (!why.empty())
            damage(names, meta_key_of(l), why, meta_advice());
        std::uint64_t bytes = 0;
        if (c_.full && fault.empty()) {
            const std::string other =
                check_data(names, {c_.store, *object, l.digest, l.raw, end, meta, jobs});
            if (why.empty() && !other.empty())
                damage(names, meta_key_of(l), other, meta_advice());
            bytes = object->size;
        }
        c_.report.checked(bytes);
    }

    /// What metadata says otherwise; empty: nothing, or the data are damaged.
    std::string check_data(const Names& names, const LayerData& data) {
        try {
            const LayerData::Content is = data.verify(c_.progress, c_.stop);
            // Others may count otherwise.
            if (data.meta && data.meta->kind == "foreign")
                return differs_in_size(*data.meta, is.size_bytes, is.file_count);
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::data)
                throw;
            damage(names, data.object.key, e.message(), kPushAgain);
        }
        return {};
    }

    void require_same(const ObjectInfo& object) const {
        const auto now = c_.store.head(object.key);
        if (!now || now->etag != object.etag)
            throw Error(ErrorKind::conflict, object.key + ": replaced meanwhile");
    }

    static std::string differs(const std::string& what, const std::string& is,
                               const std::string& wanted) {
        return what + " " + is + ", expected " + wanted;
    }

    static std::string fault_of_object(const LayerObjects& l, const ObjectInfo& object,
                                       const std::optional<LayerMeta>& meta,
                                       const std::optional<LayerEnd>& end) {
        const std::string size = std::to_string(object.size) + " bytes";
        if (end)
            return end->trailer.digest.hex() == l.digest
                       ? ""
                       : "holds the layer sha256:" + end->trailer.digest.hex();
        if (object.size == 0)
            return "empty";
        if (meta && meta->compressed_size_bytes != object.size)
            return differs("has", size, std::to_string(meta->compressed_size_bytes));
        if (!l.raw && meta && meta->kind == "layer" && !meta->blob_sha256.empty())
            return "its end is damaged: no true trailer";
        if (!l.raw && !meta)
            return "no true trailer, and no metadata that could say that it needs none";
        return {};
    }

    /// Of an object that is right as far as it tells by itself.
    static std::string fault_of_meta(const LayerObjects& l, const ObjectInfo& object,
                                     const std::optional<LayerMeta>& meta,
                                     const std::optional<LayerEnd>& end) {
        if (!meta)
            return {};
        if (meta->digest != l.digest)
            return differs("digest", meta->digest, l.digest);
        if ((meta->kind == "raw") != l.raw ||
            (meta->kind != "raw" && meta->kind != "layer" && meta->kind != "foreign"))
            return "impossible kind " + meta->kind;
        std::string fault =
            number("compressed_size_bytes", meta->compressed_size_bytes, object.size);
        // meta.json has it of the object, if that has it (PushJob::describe).
        const auto stored = object.meta.find(kBlobSha256Meta);
        if (fault.empty() && stored != object.meta.end() && stored->second != meta->blob_sha256)
            fault = differs("blob_sha256", meta->blob_sha256, stored->second);
        if (fault.empty() && l.raw)
            fault = differs_in_size(*meta, object.size, 0);
        if (fault.empty() && end)
            fault = differs_in_size(*meta, end->trailer.size_bytes, end->trailer.file_count);
        if (fault.empty() && end && meta->incomplete != end->trailer.incomplete)
            fault = "incomplete is not as in the trailer";
        return fault;
    }
    static std::string number(const char* field, std::uint64_t is, std::uint64_t wanted) {
        return is == wanted ? "" : differs(field, std::to_string(is), std::to_string(wanted));
    }
    static std::string differs_in_size(const LayerMeta& meta, std::uint64_t size_bytes,
                                       std::uint64_t file_count) {
        const std::string fault = number("size_bytes", meta.size_bytes, size_bytes);
        return fault.empty() ? number("file_count", meta.file_count, file_count) : fault;
    }

    const CheckContext& c_;
    const std::string& prefix_;
    LayerInventory inventory_;
    std::vector<std::optional<Ref>> refs_; ///< beside inventory_.refs
    std::map<std::string, Names> names_;   ///< by digest
};

} // namespace

void check_layers(const CheckContext& context, const std::string& prefix,
                  const LayerSelection& selection) {
    LayerCheck(context, prefix).run(selection);
}

} // namespace zl
