/// One entry of the tree on its way from the walker to the tar.
#pragma once

#include "layer/dir_handle.hpp"
#include "layer/file_access.hpp"
#include "layer/tar_writer.hpp"
#include "layer/toc.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace zl {

/// Something to tell about an entry.
struct PackNote {
    enum class Kind {
        plain,      ///< a socket, a file that was gone: nothing is missing
        changed,    ///< changed while it was read: as --changed says
        unreadable, ///< the layer is incomplete
    };
    Kind kind = Kind::plain;
    std::string path; ///< raw
    std::string reason;
};

struct PackItem {
    enum class Kind : std::uint8_t {
        by_name,   ///< look up name in dir
        directory, ///< meta and xattrs are given
        whiteout,  ///< of name
        opaque,    ///< the mark of the directory dir
        note,      ///< nothing to pack, only notes
    };
    enum class Result : std::uint8_t {
        left_out, ///< notes say why
        tar,      ///< the whole entry is in tar
        link,     ///< content was not read: an earlier name of the inode should have it
        big,      ///< to be streamed
    };

    Kind kind = Kind::by_name;
    Result result = Result::left_out;
    std::uint8_t type = 0; ///< by_name: DT_* if known
    DirPtr dir;            ///< released as soon as nothing is to be looked up any more
    std::shared_ptr<const std::string> prefix;
    std::string name; ///< empty: the root
    std::uint64_t sequence = 0;
    FileMeta meta;
    std::vector<Xattr> xattrs; ///< directory: as they go into the tar
    std::string comment;       ///< root entry

    // Filled by the loader.
    std::string tar;
    EntryType toc_type = EntryType::file;
    Digest sha256;
    TarHeader header; ///< kept where a hardlink may need it
    std::vector<PackNote> notes;

    /// As in the tar, without a directory's trailing slash; the root is ".".
    std::string path() const { return name.empty() ? "." : *prefix + name; }
    bool may_be_linked() const { return meta.nlink > 1 && kind == Kind::by_name; }
};

} // namespace zl
