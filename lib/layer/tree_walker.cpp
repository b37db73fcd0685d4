#include "layer/tree_walker.hpp"

#include "layer/overlay_marks.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace zl {

namespace {

constexpr std::size_t kOpenLevels = 128;
constexpr std::size_t kUnfinished = 256;
/// Readers of the table of contents take no longer paths (toc.hpp).
constexpr std::size_t kMaxPath = 64 << 10;

/// Ends the walk because the other side wants no more; not an error of the walk.
struct Unwanted {};

} // namespace

void TreeWalker::run(UniqueFd root) noexcept {
    try {
        walk(std::move(root));
        out_.close();
    } catch (const Unwanted&) {
        out_.close();
    } catch (...) {
        out_.close(std::current_exception());
    }
}

void TreeWalker::walk(UniqueFd root) {
    root_ = std::make_shared<DirHandle>();
    root_->fd = std::move(root);
    root_->prefix = std::make_shared<const std::string>();
    OpenedDir dir = reader_.read_root(root_);
    if (state_.is_overlay_form)
        dir.item.comment = kOverlayFormComment;
    enter(std::move(dir));
    while (!levels_.empty())
        visit_next();
    out_.flush();
}

void TreeWalker::visit_next() {
    DirLevel& level = levels_.back();
    if (level.next == level.names.size())
        return leave();
    const std::size_t i = level.next++;
    const DirPtr source = level.sources[level.is_merged ? level.source_of[i] : 0];
    std::string name(level.names.name(i));
    const std::uint8_t type = resolve_type(*source, name, level.names.type(i));
    const std::string path = *source->prefix + name;
    if (excludes_.matches(path, type == DT_DIR))
        return;
    check_name(*source, name);
    if (path.size() + 1 > kMaxPath)
        return push_note(path, PackNote::Kind::unreadable, "unreadable: path above 64 KiB");
    if (type == DT_DIR)
        return descend(std::move(name), source, level.is_merged);
    PackItem item;
    item.type = type;
    item.dir = source;
    item.prefix = source->prefix;
    item.name = std::move(name);
    push(std::move(item));
}

std::uint8_t TreeWalker::resolve_type(const DirHandle& dir, std::string_view name,
                                      std::uint8_t type) {
    FileMeta meta;
    if (type != DT_UNKNOWN || stat_at(dir.fd.get(), std::string(name).c_str(), meta) != 0)
        return type;
    return static_cast<std::uint8_t>(IFTODT(meta.mode));
}

void TreeWalker::check_name(const DirHandle& dir, std::string_view name) {
    if (state_.is_overlay_form || !is_wh_name(name))
        return;
    throw Error(ErrorKind::data,
                *dir.prefix + std::string(name) +
                    ": a name that starts with .wh. means a deletion in an OCI layer",
                "rename it, leave it out with --exclude, or pack with --whiteouts=overlay");
}

void TreeWalker::descend(std::string name, const DirPtr& parent, bool parent_is_merged) {
    limit_handles();
    OpenedDir dir = reader_.read(parent, name, parent_is_merged);
    const std::string path = *parent->prefix + name;
    if (dir.err == ENOTDIR || dir.err == ELOOP) { // something else is here now
        PackItem item;
        item.dir = parent;
        item.prefix = parent->prefix;
        item.name = std::move(name);
        push(std::move(item));
    } else if (dir.err == ENOENT) {
        push_note(path, PackNote::Kind::plain, "vanished before it was read");
    } else if (dir.err != 0) {
        push_note(path, PackNote::Kind::unreadable, "unreadable: " + errno_text(dir.err));
    } else if (dir.is_mount_point) {
        push_note(path, PackNote::Kind::plain, "mount point");
        push(std::move(dir.item));
    } else {
        enter(std::move(dir));
    }
}

void TreeWalker::enter(OpenedDir dir) {
    push(std::move(dir.item));
    push_marks(dir);
    levels_.push_back(std::move(dir.level));
    if (levels_.size() > kOpenLevels) {
        DirLevel& far = levels_[levels_.size() - 1 - kOpenLevels];
        // Merged levels stay open: there is no way back to all their parts.
        if (!far.is_merged && far.sources.front() != root_)
            far.sources.clear();
    }
}

void TreeWalker::push_marks(OpenedDir& dir) {
    const DirPtr handle = dir.level.sources.front();
    PackItem mark;
    mark.prefix = handle->prefix;
    if (dir.is_opaque && !state_.is_overlay_form) {
        mark.kind = PackItem::Kind::opaque;
        mark.name = kOpaqueName;
        push(mark);
    }
    if (handle->hides_whiteouts)
        return;
    mark.kind = PackItem::Kind::whiteout;
    for (std::size_t i = 0; i < dir.whiteouts.size(); ++i) {
        mark.name = dir.whiteouts.name(i);
        if (excludes_.matches(*handle->prefix + mark.name, false))
            continue;
        check_name(*handle, mark.name);
        push(mark);
    }
}

void TreeWalker::leave() {
    const DirLevel left = std::move(levels_.back());
    levels_.pop_back();
    for (const DirPtr& d : left.sources)
        unfinished_.push_back(d);
    if (levels_.empty() || !levels_.back().sources.empty())
        return;
    const std::string& prefix = *left.sources.front()->prefix;
    if (reopen(levels_.back(), left.sources.front()->fd.get(), prefix, left.name_size))
        return;
    DirLevel& lost = levels_.back();
    lost.next = lost.names.size();
    push_note(prefix.substr(0, prefix.size() - left.name_size - 2), PackNote::Kind::unreadable,
              "moved while it was read, the rest of it is missing");
}

/// Opens a level again that was closed for the sake of the limit; the same directory or none.
bool TreeWalker::reopen(DirLevel& level, int child_fd, const std::string& child_prefix,
                        std::size_t child_name_size) {
    auto handle = std::make_shared<DirHandle>();
    handle->prefix = std::make_shared<const std::string>(
        child_prefix.substr(0, child_prefix.size() - child_name_size - 1));
    handle->dev = level.dev;
    handle->ino = level.ino;
    handle->hides_whiteouts = level.hides_whiteouts;
    const auto is_it = [&](int fd) {
        FileMeta meta;
        return stat_at(fd, "", meta) == 0 && meta.dev == level.dev && meta.ino == level.ino;
    };
    if (open_at(child_fd, "..", O_DIRECTORY, handle->fd) != 0 || !is_it(handle->fd.get())) {
        handle->fd = open_from_root(*handle->prefix);
        if (handle->fd && !is_it(handle->fd.get()))
            handle->fd.reset();
    }
    const bool is_open = static_cast<bool>(handle->fd);
    level.sources = {std::move(handle)};
    return is_open;
}

UniqueFd TreeWalker::open_from_root(const std::string& prefix) {
    UniqueFd dir;
    for (std::size_t at = 0; at < prefix.size();) {
        const std::size_t slash = prefix.find('/', at);
        UniqueFd next;
        if (open_at(dir ? dir.get() : root_->fd.get(), prefix.substr(at, slash - at).c_str(),
                    O_DIRECTORY, next) != 0)
            return {};
        dir = std::move(next);
        at = slash + 1;
    }
    return dir;
}

void TreeWalker::push(PackItem item) {
    if (!out_.push(std::move(item)))
        throw Unwanted();
}

void TreeWalker::push_note(const std::string& path, PackNote::Kind kind, std::string reason) {
    PackItem item;
    item.kind = PackItem::Kind::note;
    item.notes.push_back({kind, path, std::move(reason)});
    push(std::move(item));
}

/// Waits until few enough of the directories that were left are still needed.
void TreeWalker::limit_handles() {
    while (unfinished_.size() > kUnfinished) {
        const std::uint64_t seen = out_.progress();
        std::erase_if(unfinished_, [](const auto& d) { return d.expired(); });
        if (unfinished_.size() <= kUnfinished)
            return;
        if (!out_.flush() || !out_.wait_progress(seen))
            throw Unwanted();
    }
}

} // namespace zl
