/// What the end of a stored object says: read with one or two ranged requests.
#pragma once

#include "store/object_store.hpp"
#include "stream/seek_table.hpp"
#include "stream/trailer.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

/// Metadata name on the object (header x-amz-meta-zl-blob-sha256).
inline constexpr const char* kBlobSha256Meta = "zl-blob-sha256";

/// The end of a layer object: trailer and seek table that fit each other and the object's size.
struct LayerEnd {
    Trailer trailer;
    std::vector<SeekEntry> frames; ///< data frames, then TOC and trailer
    std::uint64_t toc_offset() const { return trailer.data_bytes; }
    /// Offset of the last data frame: the tar's end is in it.
    std::uint64_t last_frame_offset() const;
};

/// nullopt: the object has no (true) layer end: a foreign layer, or not what it seems.
std::optional<LayerEnd> read_layer_end(ObjectStore& store, const ObjectInfo& object);

/// Bytes [offset, offset + length) of @p object, provided it still has its ETag (conflict).
std::string get_range(ObjectStore& store, const ObjectInfo& object, std::uint64_t offset,
                      std::uint64_t length);

} // namespace zl
