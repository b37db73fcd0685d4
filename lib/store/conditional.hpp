/// Whether a store really has conditional creation (PUT with If-None-Match: *), the fence against a
/// second writer. Probed, not guessed: some stores answer 501, others ignore the header and would let
/// both writers win.
#pragma once

#include "store/object_store.hpp"

#include <functional>
#include <string>

namespace zl {

/// Where the answer is kept between runs (StateDb::fact / set_fact of this store).
struct FactCache {
    std::function<std::optional<std::string>(const std::string& name)> get;
    std::function<void(const std::string& name, const std::string& value)> set;
};

/// Creates a probe object below @p prefix twice and removes it; once per store, then from @p cache.
/// false: not there, not allowed (`conditional=off`), or ignored. Throws what put() throws otherwise.
bool has_conditional_create(ObjectStore& store, const std::string& prefix, const FactCache& cache);

} // namespace zl
