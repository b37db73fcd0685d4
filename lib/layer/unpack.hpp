/// zl-unpack: layer stream -> directory, all or nothing.
///
///   Source -> LayerStreamReader -> TarReader (or ForeignReader) -> Applier -> Stage -> DIR
///
/// DIR changes only after the stream's trailer was found true. States and what a crash leaves:
/// staging.hpp.
#pragma once

#include "base/report.hpp"
#include "layer/applier.hpp"
#include "stream/hash.hpp"
#include "stream/stream.hpp"

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

struct UnpackOptions {
    std::string dir;
    WhiteoutMode whiteouts = WhiteoutMode::overlay;
    bool userxattr = false;
    bool merge = false;         ///< DIR may hold files
    bool no_same_owner = false;
    bool foreign = false;       ///< a tar that zl-pack did not write; no trailer needed
    std::uint64_t max_size = UINT64_MAX; ///< of the tar, uncompressed
    unsigned threads = 0;       ///< that decompress; 0 = one per processor
    std::vector<std::string> paths; ///< only these and what is below them; empty: all
};

struct UnpackResult {
    /// Committed, but something could not be restored, or was missing when the layer was packed.
    bool incomplete = false;
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0; ///< of file content
    Digest digest;           ///< of the layer
    /// Nothing was unpacked now: this layer was in DIR already, only the run that put it there had to
    /// be finished.
    bool resumed = false;
};

/// Unpacks @p in into options.dir. Sets the process's umask to 0 meanwhile: nothing else in the
/// process should make files. After any exception DIR is as it was, unless the message says that the
/// journal is there (io while moving into place).
/// Throws data: truncated, corrupt or hostile; exists: DIR is not empty; denied: marks cannot be
/// written; not_found: a chosen path is not there; transient: another run is at work in DIR; io;
/// Interrupted.
UnpackResult unpack_layer(Source& in, const UnpackOptions& options, Log& log, Progress& progress,
                          std::stop_token stop);

bool is_incomplete(const std::string& dir); // staging.hpp

} // namespace zl
