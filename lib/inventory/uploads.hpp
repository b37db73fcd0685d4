/// Multipart uploads that were begun and not ended: invisible as objects, and paid for.
#pragma once

#include "store/object_store.hpp"

#include <stop_token>
#include <string>
#include <vector>

namespace zl {

struct UploadRow {
    UploadInfo upload;
    std::uint64_t parts = 0, bytes = 0;
    /// layer, raw, database; `foreign`: zl has no such key.
    std::string kind;
};

/// Oldest first. @p layer_prefix: `layers/` or what --prefix says. Uploads that end meanwhile are
/// left out.
std::vector<UploadRow> list_open_uploads(ObjectStore& store, const std::string& layer_prefix,
                                         int jobs, std::stop_token stop);

} // namespace zl
