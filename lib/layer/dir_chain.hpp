/// The directories from the stage's root to where the applier is at work, as open descriptors.
#pragma once

#include "base/file.hpp"
#include "layer/file_attributes.hpp"
#include "layer/tar_entry.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace zl {

struct ChainedDir {
    std::string name;          ///< component; empty for the root
    UniqueFd fd;               ///< closed for the middle of a very long chain
    dev_t device = 0;          ///< valid while fd is closed
    ino_t inode = 0;
    TarEntry attributes;       ///< to be restored when it is left
    bool has_attributes = false;
    bool opaque = false;       ///< nothing of a lower directory shows through: marked, or below one
    bool mark = false;         ///< gets the opaque mark
    bool whiteouts = false;    ///< holds whiteouts made before it was known to be opaque
    std::size_t cost = 0;      ///< bytes of attributes
};

class DirChain {
public:
    /// @p root: a directory that nobody else changes; outlives this.
    DirChain(int root, AttributeWriter& attributes, OpaqueMarker& marker);

    const std::string& path() const { return path_; } ///< of the innermost directory
    ChainedDir& top() { return levels_.back(); }
    int fd() const { return levels_.back().fd.get(); }

    /// Leave directories until path() is @p path or a parent of it.
    void rise_to(std::string_view path);
    /// Make @p name in the innermost directory and enter it. False: the name is taken.
    bool make(const std::string& name);
    /// Enter a directory that is there already. Its attributes are kept. False: not a directory.
    bool enter(const std::string& name);
    /// What the innermost directory gets when it is left.
    void set_attributes(TarEntry&& entry);
    /// Leave all, the root included.
    void finish();
    /// The open descriptor of @p path if that is in the chain, else -1.
    int find(std::string_view path) const;

private:
    void leave();
    void push(const std::string& name, UniqueFd fd);
    void complete(ChainedDir& level);

    AttributeWriter& attributes_;
    OpaqueMarker& marker_;
    std::vector<ChainedDir> levels_;
    std::string path_;
    std::size_t cost_ = 0;
};

} // namespace zl
