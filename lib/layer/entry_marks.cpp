#include "layer/entry_marks.hpp"

#include "layer/overlay_marks.hpp"

#include <algorithm>

namespace zl {

EntryMarks read_marks(const std::vector<Xattr>& xattrs) {
    EntryMarks marks;
    for (const Xattr& x : xattrs) {
        switch (classify_overlay_xattr(x.name)) {
        case OverlayXattr::none:
            continue;
        case OverlayXattr::opaque:
            marks.is_opaque = marks.is_opaque || x.value == "y";
            marks.has_xattr_whiteouts = marks.has_xattr_whiteouts || x.value == "x";
            break;
        case OverlayXattr::whiteout:
            marks.is_xattr_whiteout = true;
            break;
        case OverlayXattr::redirect:
            marks.redirect = x.value;
            break;
        case OverlayXattr::metacopy:
            marks.is_metacopy = true;
            break;
        case OverlayXattr::host:
        case OverlayXattr::other:
        case OverlayXattr::escaped:
            break;
        }
        marks.has_user_overlay = marks.has_user_overlay || is_user_overlay_xattr(x.name);
    }
    return marks;
}

std::vector<Xattr> xattrs_to_tar(std::vector<Xattr> xattrs, bool overlay_form) {
    std::vector<Xattr> out;
    out.reserve(xattrs.size());
    for (Xattr& x : xattrs)
        if (auto name = overlay_xattr_to_tar(x.name, overlay_form))
            out.push_back({std::move(*name), std::move(x.value)});
    std::ranges::sort(out, {}, &Xattr::name);
    return out;
}

} // namespace zl
