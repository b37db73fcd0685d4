#include "transfer/layer_meta.hpp"

#include "base/json.hpp"

namespace zl {

std::string encode_layer_meta(const LayerMeta& m) {
    Json j;
    j["digest"] = m.digest;
    j["size_bytes"] = m.size_bytes;
    j["compressed_size_bytes"] = m.compressed_size_bytes;
    j["created_at"] = m.created_at;
    j["file_count"] = m.file_count;
    if (!m.blob_sha256.empty())
        j["blob_sha256"] = m.blob_sha256;
    if (m.kind != "layer")
        j["kind"] = m.kind;
    if (m.incomplete)
        j["incomplete"] = true;
    if (m.tags != "{}")
        j["tags"] = parse_json(m.tags, "tags");
    return dump_json(j) + "\n";
}

LayerMeta decode_layer_meta(const std::string& text, const std::string& what) {
    Json j = parse_json(text, what);
    LayerMeta m;
    m.digest = json_string(j, "digest", what);
    m.size_bytes = json_uint(j, "size_bytes", what);
    m.compressed_size_bytes = json_uint(j, "compressed_size_bytes", what);
    m.created_at = json_string(j, "created_at", what);
    m.file_count = json_uint(j, "file_count", what);
    if (j.contains("blob_sha256"))
        m.blob_sha256 = json_string(j, "blob_sha256", what);
    if (j.contains("kind"))
        m.kind = json_string(j, "kind", what);
    if (j.contains("incomplete"))
        m.incomplete = j["incomplete"] == true;
    if (j.contains("tags") && j["tags"].is_object())
        m.tags = dump_json(j["tags"]);
    return m;
}

std::optional<LayerMeta> read_layer_meta(ObjectStore& store, const std::string& key) {
    auto text = get_text(store, key);
    if (!text)
        return std::nullopt;
    return decode_layer_meta(*text, store.describe(key));
}

} // namespace zl
