/// What the headers of one tar entry say: the block itself, and extended headers before it. Whatever
/// two readers could understand differently is refused, see tar_reader.hpp.
#pragma once

#include "layer/pax_parse.hpp"
#include "layer/tar_entry.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

inline constexpr std::uint64_t kMaxTarSize = INT64_MAX - (1 << 20);
inline constexpr std::uint64_t kMaxOctalSize = (std::uint64_t{1} << 33) - 1; ///< 11 octal digits

/// Throws data `malformed tar: WHAT`.
[[noreturn]] void malformed_tar(const std::string& what);

/// The fields of a header block, before an extended header overrides them.
struct HeaderBlock {
    char type = 0;
    bool gnu = false;
    std::string path;
    std::string link;
    std::uint64_t size = 0; ///< stored bytes
    std::uint32_t mode = 0;
    std::int64_t uid = 0;
    std::int64_t gid = 0;
    std::int64_t mtime = 0;
    std::int64_t dev_major = 0;
    std::int64_t dev_minor = 0;
};

/// Of a whole block that is not of zeros. Throws data.
HeaderBlock parse_header_block(std::string_view block);

/// What extended headers said about the entry that follows.
struct ExtendedHeader {
    bool pax = false;
    std::optional<std::string> path;
    std::optional<std::string> link;
    std::optional<std::uint64_t> size;
    std::optional<std::uint32_t> uid;
    std::optional<std::uint32_t> gid;
    std::optional<PaxTime> mtime;
    std::vector<Xattr> xattrs;
    std::optional<std::string> acl_access;
    std::optional<std::string> acl_default;
    std::string comment;
    std::string sparse_major;
    std::string sparse_minor;
    std::optional<std::string> sparse_name;
    std::optional<std::uint64_t> sparse_size;

    bool is_sparse() const { return !sparse_major.empty() || sparse_size || sparse_name; }
    /// Throws data.
    void take(const PaxRecord& record);

private:
    void take_sparse(const PaxRecord& record);
    void take_xattr(const PaxRecord& record);
};

/// All of the entry but what concerns its content; takes from @p ext what is large. Throws data.
TarEntry make_tar_entry(const HeaderBlock& h, ExtendedHeader& ext);

} // namespace zl
