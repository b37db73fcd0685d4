/// zl-pack: a directory, an OverlayFS upper directory above all, becomes a layer stream
/// (zl-format(5)). The tar is a function of the tree: order, headers and sparse maps depend neither
/// on the file system nor on threads.
///
///   walker thread -> batches of entries -> 8 prefetch threads (open, attributes, small files)
///   -> this thread, in order: hard links, tar -> LayerStreamWriter
///   big files: one reader thread, a bounded number of chunks ahead
#pragma once

#include "base/report.hpp"
#include "layer/layer_writer.hpp"
#include "layer/toc.hpp"
#include "stream/stream.hpp"
#include "stream/trailer.hpp"

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

struct PackOptions {
    enum class Whiteouts {
        oci,     ///< `.wh.NAME`, `.wh..wh..opq`
        overlay, ///< char 0:0 and overlay xattrs as found, but for those that hold on this host
                 ///< only
    };
    enum class Sparse { automatic, never, always };
    enum class Changed {
        warn, ///< named, the layer is incomplete
        ok,   ///< noted in the trailer
        fail, ///< Error transient
    };

    std::string dir; ///< may be a symlink to a directory
    int level = 3;
    unsigned threads = 0; ///< compress workers; 0 = one per processor
    std::vector<std::string> excludes;
    bool one_file_system = false; ///< a mount point becomes an empty directory
    Whiteouts whiteouts = Whiteouts::oci;
    bool userxattr =
        false; ///< the overlay was mounted with -o userxattr: trusted.* does not matter
    std::vector<std::string> lowers; ///< topmost first
    Sparse sparse = Sparse::automatic;
    Changed changed = Changed::warn;
    /// Called with each entry as it is written (frame and offset are not known yet).
    std::function<void(const TocEntry&)> on_entry;
};

/// Packs and finishes @p out. Trailer::incomplete: something could not be read, or changed while it
/// was (not with Changed::ok); each such path has gone to @p log as a warning.
/// Throws not_found: no such directory. data: the tree holds what a layer cannot (a name `.wh.*`;
/// redirect or metacopy without the lower that has the content). denied: deletions of the overlay
/// may be invisible to us. transient: Changed::fail. Interrupted. After an exception @p out holds a
/// stream without trailer, which no reader takes for a layer.
Trailer pack_directory(const PackOptions& options, Sink& out, Log& log, Progress& progress,
                       std::stop_token stop);

} // namespace zl
