/// What OverlayFS and OCI layers use to say "deleted" and "hides everything below": pure functions,
/// shared by packing and unpacking.
///
/// On disk (kernel, Documentation/filesystems/overlayfs.rst; NS is `trusted` or `user`):
///   whiteout        character device 0:0; all of a mount may be hard links of one inode
///   xattr whiteout  empty regular file with NS.overlay.whiteout (tools make them, no kernel)
///   opaque          directory with NS.overlay.opaque = "y"; "x" only says that xattr whiteouts
///                   are to be looked for
///   escaped         NS.overlay.overlay.X: what a nested overlay calls NS.overlay.X
/// In the tar, OCI form (image-spec layer.md, "Whiteouts"):
///   .wh.NAME        empty file; .wh..wh..opq in an opaque directory; xattr names unescaped
/// In the tar, overlay form: as on disk, escaped names too. The root entry then carries the pax
/// record `comment=` kOverlayFormComment, so that a reader knows that overlay.* xattrs are live.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace zl {

inline constexpr std::string_view kWhiteoutPrefix = ".wh.";
inline constexpr std::string_view kOpaqueName = ".wh..wh..opq";
inline constexpr std::string_view kOverlayFormComment = "zl whiteouts=overlay";

/// Any name that OCI reserves: starts with `.wh.`. Such a real name cannot be in an OCI layer.
bool is_wh_name(std::string_view name);
/// `.wh.NAME` for @p name (one path component).
std::string make_wh_name(std::string_view name);
/// NAME of `.wh.NAME`; nullopt if that is no whiteout of a name: `.wh.` alone, `.wh..`, `.wh...`,
/// and the reserved `.wh..wh.*` (the opaque mark, AUFS' bookkeeping).
std::optional<std::string_view> wh_target(std::string_view name);

/// st_mode and device numbers of the kernel's whiteout. Ask before anything about hard links.
bool is_whiteout_device(std::uint32_t mode, unsigned dev_major, unsigned dev_minor);

enum class OverlayXattr {
    none,     ///< not overlay's: an ordinary xattr
    opaque,   ///< NS.overlay.opaque
    whiteout, ///< NS.overlay.whiteout
    redirect, ///< NS.overlay.redirect
    metacopy, ///< NS.overlay.metacopy
    host,     ///< origin, impure, nlink, uuid, upper: true on this host only
    other,    ///< any other NS.overlay.X (protattr, ...): overlay's own
    escaped,  ///< NS.overlay.overlay.X: belongs to a nested overlay
};
/// Both namespaces.
OverlayXattr classify_overlay_xattr(std::string_view name);
/// The name starts with user.overlay. (a mount with -o userxattr has been here).
bool is_user_overlay_xattr(std::string_view name);

/// NS.overlay.overlay.X -> NS.overlay.X: disk to tar, OCI form. @p name is `escaped`.
std::string unescape_overlay_xattr(std::string_view name);
/// NS.overlay.X -> NS.overlay.overlay.X: tar to disk, OCI form. @p name is anything but `none`.
std::string escape_overlay_xattr(std::string_view name);

/// Disk to tar. nullopt: leave it out.
///   OCI form: overlay's own are left out (the packer says them with marks), escaped ones lose a
///   level. overlay form: as found, but for what is true on this host only.
std::optional<std::string> overlay_xattr_to_tar(std::string_view name, bool overlay_form);
/// Tar to disk. @p overlay_form: the layer said so (kOverlayFormComment): as it stands; else an
/// overlay.* name is a nested overlay's and gains a level.
std::string overlay_xattr_to_disk(std::string_view name, bool overlay_form);

/// `trusted.overlay.opaque` or `user.overlay.opaque`, and likewise `whiteout`, `redirect`, ...
std::string overlay_xattr_name(bool userxattr, std::string_view what);

} // namespace zl
