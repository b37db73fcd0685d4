/// POSIX ACLs: from the text in `SCHILY.acl.*` (star, GNU tar, libarchive) to the value of the xattrs
/// system.posix_acl_access / _default (kernel, include/uapi/linux/posix_acl_xattr.h, version 2).
/// Used only where an archive has no raw xattr.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

inline constexpr std::string_view kAclAccess = "system.posix_acl_access";
inline constexpr std::string_view kAclDefault = "system.posix_acl_default";

/// Tags of the xattr's entries.
enum class AclTag : std::uint16_t {
    user_obj = 0x01,
    user = 0x02,
    group_obj = 0x04,
    group = 0x08,
    mask = 0x10,
    other = 0x20,
};

struct AclEntry {
    AclTag tag = AclTag::other;
    std::uint16_t perm = 0; ///< rwx as 4|2|1
    std::uint32_t id = 0;   ///< of user and group; else ignored
};

/// Sorted as the kernel wants it (tag, then id).
std::string encode_acl_xattr(std::vector<AclEntry> entries);

struct ParsedAcl {
    std::string xattr;             ///< empty if nothing is left
    std::vector<std::string> lost; ///< entries whose names have no number in the text
};
/// Entries separated by comma or line feed: `user:1000:rw-`, `user:joe:rw-:1000`, `mask::r--`,
/// `# comment`. Names are not looked up: another host's joe is somebody else. Throws data.
ParsedAcl parse_acl_text(std::string_view text);

} // namespace zl
