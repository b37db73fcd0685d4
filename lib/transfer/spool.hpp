/// The spool: stdin on disk, with everything known about it that the upload needs.
///
/// The digest that names the object is known only at the end of the input, and a producer cannot be
/// asked again after a crash: so the bytes are written to a named file first, hashed on the way.
#pragma once

#include "base/file.hpp"
#include "base/report.hpp"
#include "stream/stream.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace zl {

enum class LayerKind { layer, foreign, raw };
const char* kind_name(LayerKind kind);
LayerKind kind_from_name(const std::string& name);

struct SpoolResult {
    std::string digest;      ///< hex DiffID; raw: SHA-256 of the bytes
    std::string blob_sha256; ///< hex, of the spooled bytes
    std::uint64_t blob_size = 0;
    std::uint64_t size_bytes = 0; ///< of the tar; raw: blob_size
    std::uint64_t file_count = 0;
    bool incomplete = false; ///< the trailer says so
    LayerKind kind = LayerKind::layer;
    /// Hex SHA-256 of each part of the size asked for: an upload signs them. Empty: not taken.
    std::vector<std::string> part_sha256;
};

/// Copies @p in to @p fd (empty, at offset 0), checks it and makes it durable (fdatasync).
/// layer: a true trailer is required. foreign: must end on a frame end, its tar on two zero blocks
/// (a layer with a true trailer is taken for what it is). raw: anything but nothing.
/// @p part_size: hash the parts of that size too, 0 = do not (foreign ones never are: they wait for
/// their decompression anyway).
/// Throws data when the input is cut, corrupt or empty; io when the disk is full.
SpoolResult spool_input(Source& in, int fd, const std::string& path, LayerKind kind,
                        Progress& progress, std::uint64_t part_size = 0);

} // namespace zl
