#include "layer/overlay_marks.hpp"

#include <sys/stat.h>

namespace zl {

namespace {

constexpr std::string_view kTrusted = "trusted.overlay.";
constexpr std::string_view kUser = "user.overlay.";
constexpr std::string_view kNested = "overlay.";

/// Length of `NS.overlay.` at the start of @p name, 0 if it is not there.
std::size_t overlay_prefix(std::string_view name) {
    if (name.starts_with(kTrusted))
        return kTrusted.size();
    return name.starts_with(kUser) ? kUser.size() : 0;
}

} // namespace

bool is_wh_name(std::string_view name) {
    return name.starts_with(kWhiteoutPrefix);
}

std::string make_wh_name(std::string_view name) {
    return std::string(kWhiteoutPrefix).append(name);
}

std::optional<std::string_view> wh_target(std::string_view name) {
    if (!is_wh_name(name))
        return std::nullopt;
    const std::string_view target = name.substr(kWhiteoutPrefix.size());
    if (target.empty() || target == "." || target == ".." || is_wh_name(target) ||
        target.find('/') != std::string_view::npos)
        return std::nullopt;
    return target;
}

bool is_whiteout_device(std::uint32_t mode, unsigned dev_major, unsigned dev_minor) {
    return S_ISCHR(mode) && dev_major == 0 && dev_minor == 0;
}

OverlayXattr classify_overlay_xattr(std::string_view name) {
    const std::size_t prefix = overlay_prefix(name);
    if (prefix == 0)
        return OverlayXattr::none;
    const std::string_view what = name.substr(prefix);
    if (what.starts_with(kNested))
        return OverlayXattr::escaped;
    if (what == "opaque")
        return OverlayXattr::opaque;
    if (what == "whiteout")
        return OverlayXattr::whiteout;
    if (what == "redirect")
        return OverlayXattr::redirect;
    if (what == "metacopy")
        return OverlayXattr::metacopy;
    if (what == "origin" || what == "impure" || what == "nlink" || what == "uuid" ||
        what == "upper")
        return OverlayXattr::host;
    return OverlayXattr::other;
}

bool is_user_overlay_xattr(std::string_view name) {
    return name.starts_with(kUser);
}

std::string unescape_overlay_xattr(std::string_view name) {
    const std::size_t prefix = overlay_prefix(name);
    return std::string(name.substr(0, prefix)).append(name.substr(prefix + kNested.size()));
}

std::string escape_overlay_xattr(std::string_view name) {
    const std::size_t prefix = overlay_prefix(name);
    return std::string(name.substr(0, prefix)).append(kNested).append(name.substr(prefix));
}

std::optional<std::string> overlay_xattr_to_tar(std::string_view name, bool overlay_form) {
    switch (classify_overlay_xattr(name)) {
    case OverlayXattr::none:
        return std::string(name);
    case OverlayXattr::host:
        return std::nullopt;
    case OverlayXattr::escaped:
        return overlay_form ? std::string(name) : unescape_overlay_xattr(name);
    case OverlayXattr::opaque:
    case OverlayXattr::whiteout:
    case OverlayXattr::redirect:
    case OverlayXattr::metacopy:
    case OverlayXattr::other:
        break;
    }
    return overlay_form ? std::optional(std::string(name)) : std::nullopt;
}

std::string overlay_xattr_to_disk(std::string_view name, bool overlay_form) {
    if (overlay_form || classify_overlay_xattr(name) == OverlayXattr::none)
        return std::string(name);
    return escape_overlay_xattr(name);
}

std::string overlay_xattr_name(bool userxattr, std::string_view what) {
    return std::string(userxattr ? kUser : kTrusted).append(what);
}

} // namespace zl
