/// What the xattrs of one entry say to OverlayFS, and what of them goes into the tar.
#pragma once

#include "layer/tar_writer.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

struct EntryMarks {
    bool is_opaque = false;           ///< opaque = "y"
    bool has_xattr_whiteouts = false; ///< opaque = "x"
    bool is_xattr_whiteout = false;   ///< on an empty regular file
    bool is_metacopy = false;         ///< the data is in a lower layer
    std::optional<std::string> redirect;
    bool has_user_overlay = false; ///< any user.overlay.*: the mount used -o userxattr
};

EntryMarks read_marks(const std::vector<Xattr>& xattrs);
/// Drops and renames as overlay_xattr_to_tar says; sorted by the new names.
std::vector<Xattr> xattrs_to_tar(std::vector<Xattr> xattrs, bool overlay_form);

} // namespace zl
