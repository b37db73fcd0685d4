/// POSIX ACLs as the kernel keeps them in system.posix_acl_access and _default.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace zl {

/// The text that acl_from_text(3) reads, with numeric ids, one entry a line (`user:1234:r--`).
/// @p xattr is the raw value (linux/posix_acl_xattr.h: le32 version 2, then le16 tag, le16
/// permissions, le32 id each). nullopt: not in that form.
std::optional<std::string> posix_acl_text(std::string_view xattr);

} // namespace zl
