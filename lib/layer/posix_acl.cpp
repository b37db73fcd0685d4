#include "layer/posix_acl.hpp"

#include "base/endian.hpp"
#include "base/file.hpp"

namespace zl {

namespace {

constexpr std::uint32_t kVersion = 2; // POSIX_ACL_XATTR_VERSION
constexpr std::size_t kEntrySize = 8;

/// The text before the id; empty: no such tag.
std::string_view tag_name(std::uint32_t tag) {
    switch (tag) {
    case 0x01: // ACL_USER_OBJ
    case 0x02: // ACL_USER
        return "user:";
    case 0x04: // ACL_GROUP_OBJ
    case 0x08: // ACL_GROUP
        return "group:";
    case 0x10:
        return "mask:";
    case 0x20:
        return "other:";
    default:
        return {};
    }
}

} // namespace

std::optional<std::string> posix_acl_text(std::string_view xattr) {
    const auto bytes = as_bytes(xattr);
    if (bytes.size() < 4 || (bytes.size() - 4) % kEntrySize != 0 ||
        get_le32(bytes.data()) != kVersion)
        return std::nullopt;
    std::string text;
    for (std::size_t at = 4; at < bytes.size(); at += kEntrySize) {
        const std::uint32_t tag_and_perm = get_le32(bytes.data() + at);
        const std::uint32_t tag = tag_and_perm & 0xffff, perm = tag_and_perm >> 16;
        const std::string_view name = tag_name(tag);
        if (name.empty() || perm > 7)
            return std::nullopt;
        text += name;
        if (tag == 0x02 || tag == 0x08)
            text += std::to_string(get_le32(bytes.data() + at + 4));
        text += ':';
        text += perm & 4 ? 'r' : '-';
        text += perm & 2 ? 'w' : '-';
        text += perm & 1 ? 'x' : '-';
        text += '\n';
    }
    return text;
}

} // namespace zl
