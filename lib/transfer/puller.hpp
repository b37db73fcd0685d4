/// zl-pull: a stored layer to a Sink, or to a file that continues where an earlier run stopped.
#pragma once

#include "base/report.hpp"
#include "layer/layer_writer.hpp"
#include "store/object_store.hpp"
#include "transfer/layer_verifier.hpp"
#include "transfer/refs.hpp"
#include "transfer/stored_layer.hpp"

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

struct PullOptions {
    std::string prefix;
    int jobs = 4;
    std::uint64_t part_size = 16 << 20; ///< size of a range
};

struct PullOutcome {
    std::string digest;
    std::uint64_t bytes = 0; ///< of the stored object; --path: fetched
    bool incomplete = false; ///< the trailer says so
};

/// The object behind a digest, and how it will be proved.
struct PullTarget {
    Resolved what;
    ObjectInfo object;
    std::optional<LayerEnd> end; ///< absent: another tool's layer, or raw
    LayerProof proof() const;
    /// From here on bytes are held back until everything is proved: a cut or corrupt object then
    /// looks whole to no reader (for a layer: the start of the last data frame, where the tar's end
    /// is; else the last 256 KiB, which is more than a zstd block).
    std::uint64_t hold_back_from() const;
};

class Puller {
public:
    Puller(ObjectStore& store, PullOptions options, Log& log, Progress& progress,
           std::stop_token stop);

    /// Throws not_found, and data when the object cannot be what its name says (wrong trailer).
    PullTarget find(const std::string& ref);

    /// Streams the whole object in order; the end is written only when all of it is proved, then
    /// out.finish(). Throws data on any mismatch: @p out then lacks its end.
    PullOutcome pull(const PullTarget& target, Sink& out);

    /// To @p path, all or nothing. `.NAME.zl-part` beside it keeps what has arrived; a later run
    /// continues if the object is still the same. A final mismatch: once more from zero.
    PullOutcome pull_to_file(const PullTarget& target, const std::string& path);

    /// A small layer stream of the entries at or below @p paths (as in the tar), with their parent
    /// directories and the first names of hard links. Fetches only the frames that hold them.
    /// Throws not_found naming a path that is not in the layer, usage without a table of contents.
    PullOutcome pull_paths(const PullTarget& target, const std::vector<std::string>& paths,
                           Sink& out);

private:
    static constexpr const char* kDamaged =
        "the stored object is damaged; push the layer again with --force";
    ObjectStore& store_;
    PullOptions options_;
    Log& log_;
    Progress& progress_;
    std::stop_token stop_;
};

} // namespace zl
