/// Holes of a file as its content says, not as its file system stores it: runs of 64 KiB or more of
/// aligned 4 KiB blocks that are all zeros (the last block of the file may be short). The same
/// content gives the same map on any file system.
#pragma once

#include "stream/stream.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace zl {

inline constexpr std::uint64_t kSparseBlock = 4096;
inline constexpr std::uint64_t kMinHole = 64 << 10;

struct Extent {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    bool operator==(const Extent&) const = default;
};

struct SparseMap {
    std::uint64_t size = 0;      ///< of the file
    std::uint64_t data_size = 0; ///< of all extents together
    std::vector<Extent> data;    ///< what is not hole, in order
    std::uint64_t hole_size() const { return size - data_size; }
};

/// --sparse=auto: at least 1 MiB and a tenth of the file are holes.
bool is_worth_sparse(const SparseMap& map);
/// GNU's pax sparse format 1.0: what stands before the data, padded to whole blocks.
std::string sparse_map_text(const SparseMap& map);

/// Builds the map of a file that is fed from its start to its end. Each piece but the last is a
/// multiple of kSparseBlock.
class ZeroScanner {
public:
    void feed(Bytes data);
    /// @p size bytes that are known to be zero (a hole of the file system).
    void skip(std::uint64_t size);
    SparseMap finish();

private:
    void end_run();
    SparseMap map_;
    std::uint64_t position_ = 0;
    std::uint64_t run_start_ = 0;  ///< zeros since here
    std::uint64_t data_start_ = 0; ///< data since here (or since the run before it was too short)
};

} // namespace zl
