/// One open directory of the tree, shared by the walker and by the entries that were found in it.
#pragma once

#include "base/file.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace zl {

struct DirHandle;
using DirPtr = std::shared_ptr<DirHandle>;

struct DirHandle {
    UniqueFd fd;
    /// What stands before a name in the tar: empty, or a path that ends in '/'.
    std::shared_ptr<const std::string> prefix;
    std::uint64_t dev = 0, ino = 0;
    /// NS.overlay.opaque = "x": empty regular files with an xattr may be whiteouts.
    bool has_xattr_whiteouts = false;
    /// Nothing below shows through, so whiteouts found here delete nothing and are not written.
    bool hides_whiteouts = false;
    /// With --lower: in which layer it lies (0 = the tree itself, 1 = topmost lower, ...) and the
    /// directories of the layers below that are merged with it. For the tree's own layer they are
    /// looked up when they are first needed: ask Lowers::below(), not the member.
    std::size_t layer = 0;
    std::vector<DirPtr> below;
    std::once_flag below_known;
    void set_below(std::vector<DirPtr> dirs) {
        std::call_once(below_known, [&] { below = std::move(dirs); });
    }
};

} // namespace zl
