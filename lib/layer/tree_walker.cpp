#include "layer/tree_walker.hpp"

#include "layer/entry_marks.hpp"
#include "layer/overlay_marks.hpp"

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

namespace zl {

namespace {

constexpr std::size_t kOpenLevels = 128;
constexpr std::size_t kUnfinished = 256;
/// Readers of the table of contents take no longer paths (toc.hpp).
constexpr std::size_t kMaxPath = 64 << 10;

/// Ends the walk because the other side wants no more; not an error of the walk.
struct Unwanted {};

std::string opaque_xattr(const EntryMarks& marks) {
    return overlay_xattr_name(marks.has_user_overlay, "opaque");
}

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
    OpenedDir dir;
    root_ = std::make_shared<DirHandle>();
    root_->fd = std::move(root);
    root_->prefix = std::make_shared<const std::string>();
    dir.level.sources = {root_};
    dir.item.prefix = root_->prefix;
    dir.err = stat_at(root_->fd.get(), "", dir.item.meta);
    if (dir.err == 0)
        dir.err = read_xattrs(root_->fd.get(), dir.item.xattrs);
    if (dir.err != 0)
        throw sys_error("the directory to pack", dir.err);
    if (state_.is_overlay_form)
        dir.item.comment = kOverlayFormComment;
    apply_marks(dir, nullptr, {}, false);
    if (const int err = list(dir))
        throw sys_error("reading the directory to pack", err);
    enter(std::move(dir));
    while (!levels_.empty())
        visit_next();
    out_.flush();
}

void TreeWalker::visit_next() {
    Level& level = levels_.back();
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
    OpenedDir dir = open_dir(parent, name);
    if (dir.err == ENOTDIR || dir.err == ELOOP) { // something else is here now
        PackItem item;
        item.dir = parent;
        item.prefix = parent->prefix;
        item.name = std::move(name);
        return push(std::move(item));
    }
    const std::string path = *parent->prefix + name;
    bool enters = false;
    if (dir.err == 0) {
        enters = apply_marks(dir, parent, name, parent_is_merged);
        if (enters)
            dir.err = list(dir);
    }
    if (dir.err == ENOENT)
        return push_note(path, PackNote::Kind::plain, "vanished before it was read");
    if (dir.err != 0)
        return push_note(path, PackNote::Kind::unreadable,
                         std::string(dir.failed) + ": " + errno_text(dir.err));
    if (enters)
        return enter(std::move(dir));
    push_note(path, PackNote::Kind::plain, "mount point");
    push(std::move(dir.item));
}

TreeWalker::OpenedDir TreeWalker::open_dir(const DirPtr& parent, const std::string& name) {
    OpenedDir dir;
    auto handle = std::make_shared<DirHandle>();
    dir.item.prefix = parent->prefix;
    dir.item.name = name;
    dir.err = open_at(parent->fd.get(), name.c_str(), O_DIRECTORY, handle->fd);
    if (dir.err == 0)
        dir.err = stat_at(handle->fd.get(), "", dir.item.meta);
    if (dir.err != 0)
        return dir;
    handle->prefix = std::make_shared<const std::string>(*parent->prefix + name + "/");
    handle->layer = parent->layer;
    if (const int err = read_xattrs(handle->fd.get(), dir.item.xattrs))
        dir.item.notes.push_back({PackNote::Kind::unreadable, *parent->prefix + name,
                                  "xattrs unreadable: " + errno_text(err)});
    dir.level.sources = {std::move(handle)};
    dir.level.name_size = name.size();
    return dir;
}

/// What kind of directory it is to the overlay. False: a mount point that is not to be entered.
/// @p parent null: the root.
bool TreeWalker::apply_marks(OpenedDir& dir, const DirPtr& parent, const std::string& name,
                             bool parent_is_merged) {
    DirHandle& handle = *dir.level.sources.front();
    handle.dev = dir.level.dev = dir.item.meta.dev;
    handle.ino = dir.level.ino = dir.item.meta.ino;
    dir.item.kind = PackItem::Kind::directory;
    const EntryMarks marks = read_marks(dir.item.xattrs);
    if (marks.has_user_overlay)
        state_.saw_user_overlay = true;
    dir.item.xattrs = xattrs_to_tar(std::move(dir.item.xattrs), state_.is_overlay_form);
    dir.is_opaque = marks.is_opaque;
    if (parent && state_.options.one_file_system &&
        (dir.item.meta.is_mount_root || dir.item.meta.dev != parent->dev))
        return false;
    const bool is_redirected = marks.redirect && !marks.is_opaque && parent;
    if (is_redirected || (parent_is_merged && !marks.is_opaque)) {
        merge(dir, *parent, name, marks.redirect);
        dir.level.is_merged = true;
    }
    if (is_redirected && !parent_is_merged)
        dir.is_opaque = true;
    else if (parent_is_merged)
        dir.is_opaque = false; // the mark of the topmost merged directory hides everything below
    if (parent_is_merged)
        dir.level.is_merged = true;
    std::erase_if(dir.item.xattrs, [&](const Xattr& x) {
        const OverlayXattr kind = classify_overlay_xattr(x.name);
        return state_.is_overlay_form && (kind == OverlayXattr::redirect ||
               (kind == OverlayXattr::opaque && dir.level.is_merged));
    });
    if (state_.is_overlay_form && dir.is_opaque && dir.level.is_merged) {
        dir.item.xattrs.push_back({opaque_xattr(marks), "y"});
        std::ranges::sort(dir.item.xattrs, {}, &Xattr::name);
    }
    handle.has_xattr_whiteouts =
        marks.has_xattr_whiteouts && (dir.level.is_merged || !state_.is_overlay_form);
    handle.hides_whiteouts = dir.level.hides_whiteouts =
        dir.level.is_merged || (dir.is_opaque && !state_.is_overlay_form);
    if (dir.level.is_merged && dir.level.sources.size() == 1)
        handle.set_below({});
    return true;
}

void TreeWalker::merge(OpenedDir& dir, DirHandle& parent, const std::string& name,
                       const std::optional<std::string>& redirect) {
    const DirPtr top = dir.level.sources.front();
    std::vector<DirPtr> below =
        state_.lowers.empty()
            ? std::vector<DirPtr>{}
            : state_.lowers.merged_dirs(parent, name, redirect, top->prefix);
    if (redirect && below.empty())
        throw needs_lower(*parent.prefix + name, "redirect", !state_.lowers.empty());
    for (const DirPtr& d : below)
        d->hides_whiteouts = true;
    top->set_below(below);
    dir.level.sources.insert(dir.level.sources.end(), below.begin(), below.end());
}

bool TreeWalker::is_whiteout(const DirHandle& dir, std::string_view name, std::uint8_t type) {
    const std::string text(name);
    FileMeta meta;
    if (type != DT_CHR && type != DT_UNKNOWN && !(type == DT_REG && dir.has_xattr_whiteouts))
        return false;
    if (stat_at(dir.fd.get(), text.c_str(), meta) != 0)
        return false;
    if (is_whiteout_device(meta.mode, meta.dev_major, meta.dev_minor)) {
        state_.saw_whiteout_device = true;
        return true;
    }
    if (!dir.has_xattr_whiteouts || !S_ISREG(meta.mode) || meta.size != 0)
        return false;
    std::vector<Xattr> xattrs;
    return read_xattrs_at(dir.fd.get(), text.c_str(), xattrs) == 0 &&
           read_marks(xattrs).is_xattr_whiteout;
}

/// Reads the names before the directory is in the archive: an unreadable one is then left out whole.
int TreeWalker::list(OpenedDir& dir) {
    dir.failed = "directory unreadable";
    if (dir.level.is_merged)
        return list_merged(dir);
    NameList all;
    const DirHandle& handle = *dir.level.sources.front();
    if (const int err = all.read(handle.fd.get()))
        return err;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const bool whiteout = is_whiteout(handle, all.name(i), all.type(i));
        (whiteout ? dir.whiteouts : dir.level.names).add(all.name(i), all.type(i));
    }
    dir.whiteouts.sort();
    dir.level.names.sort();
    return 0;
}

int TreeWalker::list_merged(OpenedDir& dir) {
    struct Entry {
        std::string name;
        std::uint8_t type;
        std::uint16_t source;
    };
    std::vector<Entry> entries;
    std::unordered_set<std::string> decided; // by this or a higher layer
    for (std::size_t s = 0; s < dir.level.sources.size(); ++s) {
        const DirHandle& handle = *dir.level.sources[s];
        NameList all;
        if (const int err = all.read(handle.fd.get()))
            return err;
        for (std::size_t i = 0; i < all.size(); ++i) {
            std::string name(all.name(i));
            if (!decided.insert(name).second || is_whiteout(handle, name, all.type(i)))
                continue;
            entries.push_back({std::move(name), all.type(i), static_cast<std::uint16_t>(s)});
        }
    }
    std::ranges::sort(entries, {}, &Entry::name);
    for (const Entry& e : entries) {
        dir.level.names.add(e.name, e.type);
        dir.level.source_of.push_back(e.source);
    }
    return 0;
}

void TreeWalker::enter(OpenedDir dir) {
    PackItem item = std::move(dir.item);
    push(std::move(item));
    push_marks(dir);
    levels_.push_back(std::move(dir.level));
    if (levels_.size() > kOpenLevels) {
        Level& far = levels_[levels_.size() - 1 - kOpenLevels];
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
    const Level left = std::move(levels_.back());
    levels_.pop_back();
    for (const DirPtr& d : left.sources)
        unfinished_.push_back(d);
    if (levels_.empty() || !levels_.back().sources.empty())
        return;
    const std::string& prefix = *left.sources.front()->prefix;
    if (reopen(levels_.back(), left.sources.front()->fd.get(), prefix, left.name_size))
        return;
    Level& lost = levels_.back();
    lost.next = lost.names.size();
    push_note(prefix.substr(0, prefix.size() - left.name_size - 2), PackNote::Kind::unreadable,
              "moved while it was read, the rest of it is missing");
}

/// Opens a level again that was closed for the sake of the limit; the same directory or none.
bool TreeWalker::reopen(Level& level, int child_fd, const std::string& child_prefix,
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
