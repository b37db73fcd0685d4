/// Layer stream, writing side: tar bytes to frames + TOC + trailer + seek table (zl-format(5)).
#pragma once

#include "layer/toc.hpp"
#include "stream/stream.hpp"
#include "stream/trailer.hpp"

#include <memory>
#include <optional>

namespace zl {

/// Writes a layer stream. One thread calls it; compressing, hashing and writing run on others and
/// overlap with the caller. The bytes do not depend on the number of threads.
/// An exception of a worker (EPIPE, disk full) comes out of the next call.
class LayerStreamWriter {
public:
    /// @p level 1..22. @p threads compress workers, 0 = one per processor. @p out outlives this.
    /// Memory: about (threads + 2) x 2 x 12 MiB.
    LayerStreamWriter(Sink& out, int level, unsigned threads);
    ~LayerStreamWriter(); ///< without finish(): stops the workers, writes nothing more

    /// A new entry; @p tar_size = all its header blocks, data and padding. entry.frame and .offset
    /// are filled in here. Calls between two entries: write() of exactly tar_size bytes, then
    /// end_entry().
    void begin_entry(const TocEntry& entry, std::uint64_t tar_size);
    void write(Bytes tar);
    /// @p sha256 of the entry's data (toc.hpp); regular files only.
    void end_entry(const std::optional<Digest>& sha256);
    /// Index in the TOC of the next entry: hardlinks refer to it.
    std::uint64_t next_index() const;

    struct Notes {
        bool incomplete = false;
        std::uint64_t skipped_count = 0;
        std::vector<SkippedPath> skipped;
    };
    /// Appends the two zero blocks, TOC, trailer and seek table, and finishes @p out.
    Trailer finish(const Notes& notes);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace zl
