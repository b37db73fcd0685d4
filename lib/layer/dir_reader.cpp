#include "layer/dir_reader.hpp"

#include "layer/overlay_marks.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <unordered_set>

namespace zl {

OpenedDir DirReader::read_root(const DirPtr& root) {
    OpenedDir dir;
    dir.level.sources = {root};
    dir.item.prefix = root->prefix;
    int err = stat_at(root->fd.get(), "", dir.item.meta);
    if (err == 0)
        err = read_xattrs(root->fd.get(), dir.item.xattrs);
    if (err == 0) {
        apply_marks(dir, nullptr, {}, false);
        err = list(dir);
    }
    if (err != 0)
        throw sys_error("the directory to pack", err);
    return dir;
}

OpenedDir DirReader::read(const DirPtr& parent, const std::string& name, bool parent_is_merged) {
    OpenedDir dir = open(parent, name);
    if (dir.err != 0)
        return dir;
    apply_marks(dir, parent.get(), name, parent_is_merged);
    if (!dir.is_mount_point)
        dir.err = list(dir);
    return dir;
}

OpenedDir DirReader::open(const DirPtr& parent, const std::string& name) {
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

/// What kind of directory it is to the overlay. @p parent null: the root.
void DirReader::apply_marks(OpenedDir& dir, DirHandle* parent, const std::string& name,
                            bool parent_is_merged) {
    DirHandle& handle = *dir.level.sources.front();
    handle.dev = dir.level.dev = dir.item.meta.dev;
    handle.ino = dir.level.ino = dir.item.meta.ino;
    dir.item.kind = PackItem::Kind::directory;
    const EntryMarks marks = read_marks(dir.item.xattrs);
    if (marks.has_user_overlay)
        state_.saw_user_overlay = true;
    dir.item.xattrs = xattrs_to_tar(std::move(dir.item.xattrs), state_.is_overlay_form);
    dir.is_mount_point = parent && state_.options.one_file_system &&
                         (dir.item.meta.is_mount_root || dir.item.meta.dev != parent->dev);
    if (dir.is_mount_point)
        return;
    const bool is_redirected = parent && marks.redirect && !marks.is_opaque;
    dir.level.is_merged = is_redirected || parent_is_merged;
    if (is_redirected || (parent_is_merged && !marks.is_opaque))
        merge(dir, *parent, name, marks.redirect);
    else if (parent_is_merged)
        handle.set_below({});
    // One mark, at the topmost merged directory, hides everything below.
    dir.is_opaque = dir.level.is_merged ? !parent_is_merged : marks.is_opaque;
    if (state_.is_overlay_form)
        keep_overlay_xattrs(dir, marks);
    handle.has_xattr_whiteouts =
        marks.has_xattr_whiteouts && (dir.level.is_merged || !state_.is_overlay_form);
    handle.hides_whiteouts = dir.level.hides_whiteouts =
        dir.level.is_merged || (dir.is_opaque && !state_.is_overlay_form);
}

/// Overlay form: xattrs say what the directory has become, not what it was.
void DirReader::keep_overlay_xattrs(OpenedDir& dir, const EntryMarks& marks) {
    std::erase_if(dir.item.xattrs, [&](const Xattr& x) {
        const OverlayXattr kind = classify_overlay_xattr(x.name);
        return kind == OverlayXattr::redirect ||
               (kind == OverlayXattr::opaque && dir.level.is_merged);
    });
    if (dir.is_opaque && dir.level.is_merged) {
        dir.item.xattrs.push_back({overlay_xattr_name(marks.has_user_overlay, "opaque"), "y"});
        std::ranges::sort(dir.item.xattrs, {}, &Xattr::name);
    }
}

void DirReader::merge(OpenedDir& dir, DirHandle& parent, const std::string& name,
                      const std::optional<std::string>& redirect) {
    const DirPtr top = dir.level.sources.front();
    std::vector<DirPtr> below =
        state_.lowers.empty() ? std::vector<DirPtr>{}
                              : state_.lowers.merged_dirs(parent, name, redirect, top->prefix);
    if (redirect && below.empty())
        throw needs_lower(*parent.prefix + name, "redirect", !state_.lowers.empty());
    for (const DirPtr& d : below)
        d->hides_whiteouts = true;
    top->set_below(below);
    dir.level.sources.insert(dir.level.sources.end(), below.begin(), below.end());
}

bool DirReader::is_whiteout(const DirHandle& dir, std::string_view name, std::uint8_t type) {
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

int DirReader::list(OpenedDir& dir) {
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

int DirReader::list_merged(OpenedDir& dir) {
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

} // namespace zl
