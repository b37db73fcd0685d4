/// Moves a stage's tree into a directory that may hold files (staging.hpp, i2 to i5).
///
///   in the tree    in DIR            becomes
///   directory      directory         merged; the layer's attributes (S3)
///   directory      anything else     replaced (a symbolic link is replaced, never followed)
///   directory, opaque (overlay)      replaced: it hides what an older layer had there
///   directory      whiteout (overlay) replaced, and opaque: what the whiteout hid stays hidden
///   other          other             replaced
///   other          empty directory   replaced
///   other          directory         refused, but for `apply` and for whiteouts: there the layer says
///                                    that the directory is gone
/// What is replaced goes to DIR/.zl-unpack/trash by rename, and is deleted at the end.
#pragma once

#include "layer/journal.hpp"

#include <set>
#include <string>
#include <vector>

namespace zl {

class Merger {
public:
    /// @p dir: DIR. @p stage: DIR/.zl-unpack, with `tree`. Both outlive this.
    Merger(int dir, int stage, WhiteoutMode whiteouts, bool userxattr);

    /// Looks at everything that will be touched, changes nothing in DIR. Throws exists (something in the
    /// way, a mount point), denied (a directory that we may not write), data (reserved names).
    std::vector<Fixup> plan(const std::vector<Deletion>& deletions,
                            const std::set<std::string>& implicit);
    void delete_all(const std::vector<Deletion>& deletions);
    void move_all();
    void fix_all(const std::vector<Fixup>& fixups, Losses& losses);

private:
    void plan_dir(int from, int to, const std::string& path);
    void plan_entry(int from, int to, const std::string& path, const std::string& name);
    void plan_deletion(const Deletion& deletion);
    void plan_moved(int from, const std::string& path, const std::string& name);
    bool replaces(int from, const std::string& name) const;
    void move_dir(int from, int to, int depth);
    void move_entry(int from, int to, const std::string& name, int depth);
    void to_trash(int dir, const std::string& name);

    int dir_;
    int stage_;
    UniqueFd tree_;
    WhiteoutMode whiteouts_;
    bool userxattr_;
    bool is_root_;
    int depth_ = 0;
    std::vector<Fixup> fixups_;
    const std::set<std::string>* implicit_ = nullptr;
    std::uint64_t next_trash_ = 0;
};

} // namespace zl
