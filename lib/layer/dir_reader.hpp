/// Opens a directory of the tree: its attributes, its names in archive order, and what OverlayFS
/// says about it. Nothing of it is in the archive yet, so that an unreadable one can be left out
/// whole.
#pragma once

#include "layer/entry_loader.hpp"
#include "layer/entry_marks.hpp"
#include "layer/file_access.hpp"
#include "layer/pack_item.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

/// A directory of the path to where the walk is.
struct DirLevel {
    std::vector<DirPtr> sources; ///< one; with --lower those merged to one, topmost first
    bool is_merged = false;
    bool hides_whiteouts = false;
    NameList names;                       ///< sorted, without whiteouts
    std::vector<std::uint16_t> source_of; ///< is_merged: of each name
    std::size_t next = 0;                 ///< the name where the walk is
    std::uint64_t dev = 0, ino = 0;
    std::size_t name_size = 0; ///< of its own name
};

struct OpenedDir {
    DirLevel level;
    PackItem item; ///< its own entry
    NameList whiteouts;
    bool is_opaque = false;      ///< write the mark
    bool is_mount_point = false; ///< not to be entered; no names were read
    int err = 0;                 ///< not 0: there is only this
};

class DirReader {
public:
    explicit DirReader(PackState& state) : state_(state) {}
    /// Throws what is wrong.
    OpenedDir read_root(const DirPtr& root);
    /// The directory @p name of @p parent. Throws data where a lower layer that has its content is
    /// missing.
    OpenedDir read(const DirPtr& parent, const std::string& name, bool parent_is_merged);

private:
    OpenedDir open(const DirPtr& parent, const std::string& name);
    void apply_marks(OpenedDir& dir, DirHandle* parent, const std::string& name,
                     bool parent_is_merged);
    void keep_overlay_xattrs(OpenedDir& dir, const EntryMarks& marks);
    void merge(OpenedDir& dir, DirHandle& parent, const std::string& name,
               const std::optional<std::string>& redirect);
    int list(OpenedDir& dir);
    int list_merged(OpenedDir& dir);
    bool is_whiteout(const DirHandle& dir, std::string_view name, std::uint8_t type);

    PackState& state_;
};

} // namespace zl
