/// Walks a tree in archive order: names sorted bytewise within a directory, a directory before its
/// content, its opaque mark right after it, its whiteouts before its other names. Uses directory handles
/// only. It opens directories; everything else is left to the loaders, so that a slow disk does not
/// hold it up.
///
/// Memory: the names of the open directories. Handles: kOpenLevels levels of the path (those above are
/// closed and opened again on the way back) and kUnfinished directories whose entries are being loaded.
#pragma once

#include "layer/entry_loader.hpp"
#include "layer/exclude.hpp"
#include "layer/file_access.hpp"
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
        : state_(state), excludes_(excludes), out_(out) {}

    /// Pushes everything below @p root, then closes @p out, with the exception if there was one.
    void run(UniqueFd root) noexcept;

private:
    /// A directory of the path to where the walk is.
    struct Level {
        std::vector<DirPtr> sources; ///< one; with --lower those merged to one, topmost first
        bool is_merged = false;
        NameList names;
        std::vector<std::uint16_t> source_of; ///< is_merged: of each name
        std::size_t next = 0;
        std::uint64_t dev = 0, ino = 0;
        std::size_t name_size = 0; ///< of the last component of its prefix
        bool hides_whiteouts = false;
    };
    /// A directory that was opened, before anything about it is pushed.
    struct OpenedDir {
        Level level;
        PackItem item;
        NameList whiteouts;
        bool is_opaque = false;
        int err = 0;
        const char* failed = "unreadable";
    };

    void walk(UniqueFd root);
    void visit_next();
    void descend(std::string name, const DirPtr& parent, bool parent_is_merged);
    OpenedDir open_dir(const DirPtr& parent, const std::string& name);
    bool apply_marks(OpenedDir& dir, const DirPtr& parent, const std::string& name,
                     bool parent_is_merged);
    void merge(OpenedDir& dir, DirHandle& parent, const std::string& name,
               const std::optional<std::string>& redirect);
    int list(OpenedDir& dir);
    int list_merged(OpenedDir& dir);
    void enter(OpenedDir dir);
    void leave();
    bool reopen(Level& level, int child_fd, const std::string& child_prefix,
                std::size_t child_name_size);
    UniqueFd open_from_root(const std::string& prefix);
    bool is_whiteout(const DirHandle& dir, std::string_view name, std::uint8_t type);
    std::uint8_t resolve_type(const DirHandle& dir, std::string_view name, std::uint8_t type);
    void check_name(const DirHandle& dir, std::string_view name);
    void push(PackItem item);
    void push_note(const std::string& path, PackNote::Kind kind, std::string reason);
    void push_marks(OpenedDir& dir);
    void limit_handles();

    PackState& state_;
    const Excludes& excludes_;
    Prefetcher& out_;
    DirPtr root_;
    std::vector<Level> levels_;
    std::deque<std::weak_ptr<DirHandle>> unfinished_; ///< left; their entries may hold them still
};

} // namespace zl
