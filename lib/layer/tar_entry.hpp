/// One entry of a tar archive as unpacking sees it, and the interface of those who read them.
#pragma once

#include "layer/tar_writer.hpp" // Xattr
#include "layer/toc.hpp"
#include "stream/stream.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zl {

struct TarEntry {
    EntryType type = EntryType::file; ///< never whiteout or opaque: those are names to a tar reader
    /// Raw bytes, without leading `./` and trailing `/`; empty for the root (`./`). Always relative,
    /// no `..`, `.` or empty component, no component above 255 bytes.
    std::string path;
    /// Symlink: its text, as it stands. Hardlink: path of the target, in the form of @ref path.
    std::string link;
    std::uint64_t size = 0; ///< content of a regular file, holes included; else 0
    std::uint32_t mode = 0; ///< permission bits, 0..07777
    std::uint32_t uid = 0;  ///< never 2^32-1, which means "leave it" to chown(2)
    std::uint32_t gid = 0;
    std::int64_t mtime = 0;         ///< seconds
    std::uint32_t mtime_ns = 0;     ///< 0..999999999, forward
    std::uint32_t dev_major = 0;    ///< 0..4095
    std::uint32_t dev_minor = 0;    ///< 0..1048575
    std::vector<Xattr> xattrs;      ///< raw; ACLs are system.posix_acl_* here
    std::vector<std::string> lost;  ///< what the archive says but no xattr can: `ACL of user joe`
    std::string comment;            ///< pax `comment`
};

/// Limits on what an archive may ask for; beyond them it is refused (data).
inline constexpr std::size_t kMaxTarPath = 64 << 10;
inline constexpr std::size_t kMaxTarComponent = 255;
inline constexpr std::size_t kMaxXattrName = 255;
inline constexpr std::size_t kMaxXattrValue = 64 << 10;

/// Reads the entries of a tar one after the other. Every failure of the input is Error{data}.
class EntryReader {
public:
    virtual ~EntryReader() = default;
    /// The next entry replaces @p entry. False: the archive is complete and well-formed to its end.
    /// Content of the entry before that was not read is skipped.
    virtual bool next(TarEntry& entry) = 0;

    struct Piece {
        std::uint64_t offset = 0; ///< in the file; what no piece covers is a hole
        Bytes data;               ///< valid until the next call
    };
    /// The next piece of the current regular file, offsets ascending; nullopt after the last one.
    virtual std::optional<Piece> read() = 0;
};

/// Checks @p name as it stands in an archive and gives TarEntry::path. Throws data naming it when
/// it is absolute, leads out, or has empty, `.`, over-long components or a NUL.
std::string clean_tar_path(std::string_view name);

/// @p name for messages: control bytes and invalid UTF-8 as \xNN, cut at 200 bytes.
std::string show_path(std::string_view name);

} // namespace zl
