/// Walks a tree in archive order: names sorted bytewise within a directory, a directory before its
/// content, its opaque mark right after it, its whiteouts before its other names. Uses directory
/// handles only. It opens directories; everything else is left to the loaders, so that a slow disk
/// does not hold it up.
///
/// Memory: the names of the open directories. Handles: kOpenLevels levels of the path (those above
/// are closed and opened again on the way back) and kUnfinished directories whose entries are being
/// loaded.
#pragma once

#include "layer/dir_reader.hpp"
#include "layer/entry_loader.hpp"
#include "layer/exclude.hpp"
#include "layer/pack_item.hpp"
#include "layer/prefetch.hpp"

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

class TreeWalker {
public:
    /// All outlive the walker.
    TreeWalker(PackState& state, const Excludes& excludes, Prefetcher& out)
        : state_(state), excludes_(excludes), out_(out), reader_(state) {}

    /// Pushes everything below @p root, then closes @p out, with the exception if there was one.
    void run(UniqueFd root) noexcept;

private:
    void walk(UniqueFd root);
    void visit_next();
    void descend(std::string name, const DirPtr& parent, bool parent_is_merged);
    void enter(OpenedDir dir);
    void leave();
    bool reopen(DirLevel& level, int child_fd, const std::string& child_prefix,
                std::size_t child_name_size);
    UniqueFd open_from_root(const std::string& prefix);
    std::uint8_t resolve_type(const DirHandle& dir, std::string_view name, std::uint8_t type);
    void check_name(const DirHandle& dir, std::string_view name);
    void push(PackItem item);
    void push_note(const std::string& path, PackNote::Kind kind, std::string reason);
    void push_marks(OpenedDir& dir);
    void limit_handles();

    PackState& state_;
    const Excludes& excludes_;
    Prefetcher& out_;
    DirReader reader_;
    DirPtr root_;
    std::vector<DirLevel> levels_;
    std::deque<std::weak_ptr<DirHandle>> unfinished_; ///< left; their entries may hold them still
};

} // namespace zl
