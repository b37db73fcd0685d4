/// Committed transactions out of a live WAL file, verified frame by frame (W1).
#pragma once

#include "wal/live_db.hpp"
#include "wal/ship_state.hpp"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace zl {

/// Whole transactions, as places in the WAL: a page's last version each.
struct WalBatch {
    using Place = std::pair<std::uint32_t, std::uint32_t>; ///< page, frame
    std::vector<Place> pages;      ///< ascending by page, none beyond page_count
    std::uint32_t page_count = 0;  ///< of the database after it
    std::uint32_t least_count = 0; ///< the smallest size in between: what lies beyond was dropped
    WalPosition end;               ///< the WAL up to here is in the batch
};

/// Reads the WAL behind @p fd; salts and checksums of every frame are checked against the chain.
class WalReader {
public:
    WalReader(int fd, std::uint32_t page_size, std::string name);

    /// The WAL's header; nullopt: none yet, or torn.
    std::optional<WalHeader> header() const;
    /// Whether frames 1 .. @p at.frame are still those that led to @p at (all of the chain is
    /// computed anew: the same last frame proves nothing).
    bool holds(const WalPosition& at) const;
    /// Transactions after @p from, up to @p index (which must be of the same WAL), stopping at the
    /// first commit at which @p limit_bytes of frames are reached. nullopt: the frames are not
    /// those that the index promises (being changed just now, or damaged): read the index again.
    std::optional<WalBatch> read(const WalPosition& from, const WalIndex& index,
                                 std::uint64_t limit_bytes) const;
    /// The page in frame @p frame.
    void page(std::uint32_t frame, std::span<std::byte> out) const;

private:
    /// Frames first .. last in turn; false from @p each stops. Returns false when a frame is
    /// missing or breaks the chain, which is in @p at.
    bool walk(WalPosition& at, std::uint64_t last, bool big_endian,
              const std::function<bool(std::uint32_t frame, const WalFrame&)>& each) const;
    int fd_;
    std::uint32_t page_size_;
    std::string name_;
};

/// Sort by page and keep the last frame of each.
void keep_last_versions(std::vector<WalBatch::Place>& places);

} // namespace zl
