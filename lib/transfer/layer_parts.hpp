/// Parts of a stored layer by its table of contents: where entries lie, and what proves them.
#pragma once

#include "layer/toc.hpp"
#include "transfer/stored_layer.hpp"

#include <string>
#include <vector>

namespace zl {

/// Frame starts, in the object and in the tar; one more at the end.
struct FrameMap {
    /// Throws data for frames larger than any of ours.
    explicit FrameMap(const LayerEnd& end);
    /// Where the entry begins. Throws data when it lies outside the frames.
    std::uint64_t tar_offset(const TocEntry& entry) const;
    std::size_t frame_at(std::uint64_t tar) const;
    std::vector<std::uint64_t> in_object, in_tar;
};

/// The payload of the table of contents, in one ranged request. Throws data when there is none.
std::string fetch_toc(ObjectStore& store, const ObjectInfo& object, const LayerEnd& end);

/// Where the entries end: before the two zero blocks. Throws data for a tar without room for them.
std::uint64_t end_of_entries(const LayerEnd& end);

/// A path as people type it, as the table has it: without `./` and `/` around, `.` for the root.
std::string layer_path(std::string path);
bool is_at_or_below(const std::string& path, const std::string& wanted);

/// Proves the content of a plain file by the SHA-256 of its entry, while its part of the tar
/// passes. Sparse files (whose data is not the last that the part has) and others pass as they are.
class EntryProof {
public:
    /// @p size: of the entry's part of the tar, with headers and padding.
    void begin(const TocEntry& entry, std::uint64_t size);
    void write(Bytes part);
    /// Throws data naming the path.
    void end();

private:
    TocEntry entry_;
    std::uint64_t at_ = 0;
    std::uint64_t data_from_ = 0; ///< where a plain file's content starts; 0 = nothing to prove
    std::string head_;            ///< what is before it
    Hasher hash_;
};

} // namespace zl
