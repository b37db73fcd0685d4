/// meta.json: what a store says of a layer, written after it (zl-format(5)).
#pragma once

#include "store/object_store.hpp"

#include <optional>
#include <string>

namespace zl {

struct LayerMeta {
    std::string digest;
    std::uint64_t size_bytes = 0;            ///< of the tar; raw: of the bytes
    std::uint64_t compressed_size_bytes = 0; ///< of the stored object
    std::string created_at;                  ///< RFC 3339
    std::uint64_t file_count = 0;
    std::string blob_sha256; ///< of the stored bytes; empty: not known (other tools' layers)
    std::string kind = "layer";
    bool incomplete = false;
    std::string tags = "{}"; ///< JSON object
};

std::string encode_layer_meta(const LayerMeta& meta);
/// The first five fields are required, unknown ones ignored. Throws data naming @p what.
LayerMeta decode_layer_meta(const std::string& text, const std::string& what);
/// nullopt: there is none.
std::optional<LayerMeta> read_layer_meta(ObjectStore& store, const std::string& key);

} // namespace zl
