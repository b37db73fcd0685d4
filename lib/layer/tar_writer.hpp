/// Headers of a POSIX pax tar (POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended
/// Header"). The bytes are a function of the fields alone.
///
/// Why not libarchive, whose writer is there: 3.6.2 url-encodes xattr names (other tools then make
/// bogus twins), turns ids of 2^31 and above in ACLs into 0 = root, transcodes file names through
/// the locale, drops nanoseconds unless another pax attribute is needed, and puts no ACL where Go
/// programs look for it. A writer of one format with fixed choices is small:
///   - ustar where it can hold the value (name split at a '/' included), else a pax record beside
///     the largest value that the ustar field holds (for an id: never 0, never root);
///   - pax records in a fixed order: comment, path, linkpath, size, uid, gid, mtime, GNU.sparse.*,
///     SCHILY.acl.*, SCHILY.xattr.* sorted bytewise;
///   - the extended header's own fields are constant; no user and group names; no atime, ctime;
///   - ACLs twice: the raw xattr is the truth (Go programs and our reader), the text is for GNU
///   tar.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zl {

inline constexpr std::uint64_t kTarBlock = 512;
/// Bytes that fill @p size up to a whole block.
constexpr std::uint64_t tar_padding(std::uint64_t size) {
    return (kTarBlock - size % kTarBlock) % kTarBlock;
}

struct Xattr {
    std::string name;
    std::string value;
    bool operator==(const Xattr&) const = default;
};

/// POSIX typeflags.
enum class TarType : char {
    file = '0',
    hardlink = '1',
    symlink = '2',
    char_device = '3',
    block_device = '4',
    directory = '5',
    fifo = '6',
};

struct TarHeader {
    TarType type = TarType::file;
    std::string path;       ///< raw bytes; a directory's ends in '/', the root is "./"
    std::string link;       ///< target of a symlink; path of a hardlink's first name
    std::uint32_t mode = 0; ///< permission bits only
    std::uint32_t uid = 0, gid = 0;
    std::uint64_t size = 0; ///< bytes that follow the header; regular files only
    std::int64_t mtime = 0;
    std::uint32_t mtime_ns = 0; ///< counts forward
    std::uint32_t dev_major = 0, dev_minor = 0;
    std::vector<Xattr> xattrs; ///< sorted by name, as they go into the tar
    /// Set: the entry is in GNU's pax sparse format 1.0, this is the size of the file, and the
    /// content begins with the map (sparse_map.hpp).
    std::optional<std::uint64_t> sparse_size;
    std::string comment;
};

/// Appends the extended header, if one is needed, and the header: a multiple of 512 bytes.
void append_tar_header(std::string& out, const TarHeader& header);

} // namespace zl
