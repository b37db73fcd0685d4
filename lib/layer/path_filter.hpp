/// Which entries of a layer the user chose by PATH operands.
#pragma once

#include "layer/tar_entry.hpp"

#include <string>
#include <vector>

namespace zl {

class PathFilter {
public:
    /// @p paths: files or subtrees, with or without leading `./` and trailing `/`; empty: everything.
    /// Throws usage for absolute paths and `..`.
    explicit PathFilter(const std::vector<std::string>& paths);

    bool active() const { return !wanted_.empty(); }
    /// A chosen path, something below one, the mark that deletes one, or a directory on the way to one.
    bool takes(const TarEntry& entry);
    /// Throws not_found naming a chosen path that was not in the layer.
    void check_all_found() const;

private:
    struct Wanted {
        std::string path; ///< empty: the root, that is everything
        bool found = false;
    };
    std::vector<Wanted> wanted_;
};

} // namespace zl
