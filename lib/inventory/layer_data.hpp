/// Every byte of a stored layer, read and proved in bounded memory.
#pragma once

#include "base/report.hpp"
#include "transfer/layer_meta.hpp"
#include "transfer/stored_layer.hpp"

#include <optional>
#include <stop_token>
#include <string>

namespace zl {

struct LayerData {
    ObjectStore& store;
    ObjectInfo object;
    std::string digest; ///< 64 hex digits
    bool raw = false;
    std::optional<LayerEnd> end;   ///< absent: another tool's layer, or raw
    std::optional<LayerMeta> meta; ///< its blob_sha256 is compared too
    int jobs = 1;                  ///< ranges in flight; above 1 all processors decompress

    struct Content {
        std::uint64_t size_bytes = 0, file_count = 0;
    };
    /// Throws data when anything does not fit: hash of the object, tar digest, zstd frames, seek
    /// table, table of contents, content of plain files. Returns what its metadata should say.
    /// Memory: jobs x 8 MiB, some frames, and the table of contents as it is stored.
    Content verify(Progress& progress, std::stop_token stop) const;
};

} // namespace zl
