#include "store/conditional.hpp"

#include "base/random.hpp"

namespace zl {

namespace {

constexpr const char* kFact = "conditional-create";

bool probe(ObjectStore& store, const std::string& key) {
    PutOptions create;
    create.if_none_match = true;
    try {
        store.put(key, MemoryBody("probe\n"), create);
    } catch (const Error& e) {
        if (e.kind() == ErrorKind::unsupported)
            return false;
        throw;
    }
    bool refused = false;
    try {
        store.put(key, MemoryBody("probe\n"), create);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::conflict && e.kind() != ErrorKind::unsupported)
            throw;
        refused = e.kind() == ErrorKind::conflict;
    }
    try {
        store.remove(key);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::denied) // who may not delete leaves six bytes behind, once
            throw;
    }
    return refused;
}

} // namespace

bool has_conditional_create(ObjectStore& store, const std::string& prefix, const FactCache& cache) {
    if (!store.conditional_allowed())
        return false;
    if (auto known = cache.get(kFact))
        return *known == "yes";
    bool has = probe(store, prefix + "zl-probe-" + random_hex(8));
    cache.set(kFact, has ? "yes" : "no");
    return has;
}

} // namespace zl
