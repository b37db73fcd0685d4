#include "layer/lower.hpp"

#include "base/error.hpp"
#include "layer/entry_marks.hpp"
#include "layer/file_access.hpp"
#include "layer/overlay_marks.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

namespace zl {

namespace {

enum class Found { nothing, directory, file, stop };

/// A layer that cannot be read must not look like one that has nothing.
void check(int err, const std::string& name) {
    if (err != 0)
        throw sys_error("lower layer: " + name, err);
}

Found look_at(int dir_fd, const std::string& name, FileMeta& meta) {
    const int err = stat_at(dir_fd, name.c_str(), meta);
    if (err == ENOENT || err == ENAMETOOLONG)
        return Found::nothing;
    check(err, name);
    if (S_ISDIR(meta.mode))
        return Found::directory;
    return S_ISREG(meta.mode) ? Found::file : Found::stop;
}

EntryMarks marks_of(int fd, const std::string& name) {
    std::vector<Xattr> xattrs;
    check(read_xattrs(fd, xattrs), name);
    return read_marks(xattrs);
}

} // namespace

Lowers::Lowers(const std::vector<std::string>& dirs) {
    for (const std::string& dir : dirs) {
        auto root = std::make_shared<DirHandle>();
        root->fd = UniqueFd(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!root->fd)
            throw sys_error("lower directory " + dir).with_kind(ErrorKind::not_found);
        root->layer = roots_.size() + 1;
        roots_.push_back(std::move(root));
    }
}

void Lowers::redirect_component(Target& target, std::size_t index, const std::string& redirect) {
    std::vector<std::string> parts;
    const bool absolute = redirect.starts_with('/');
    for (std::size_t at = absolute ? 1 : 0; at <= redirect.size();) {
        const std::size_t end = std::min(redirect.find('/', at), redirect.size());
        parts.push_back(redirect.substr(at, end - at));
        at = end + 1;
    }
    for (const std::string& part : parts)
        if (part.empty() || part == "." || part == ".." || (!absolute && parts.size() > 1))
            throw Error(ErrorKind::data, "overlay.redirect is not valid: " + redirect);
    const auto first = absolute ? 0 : index;
    parts.insert(parts.begin(), target.path.begin(),
                 target.path.begin() + static_cast<std::ptrdiff_t>(first));
    parts.insert(parts.end(), target.path.begin() + static_cast<std::ptrdiff_t>(index) + 1,
                 target.path.end());
    target.path = std::move(parts);
    if (absolute) {
        target.from_root = true;
        target.is_final = false;
    }
}

void Lowers::search_layer(std::size_t layer, int base_fd, Target& target, const Visit& visit) {
    const std::vector<std::string> path = target.path; // redirects are for the layers below
    UniqueFd dir;
    for (std::size_t i = 0; i + 1 < path.size(); ++i) {
        FileMeta meta;
        const int fd = dir ? dir.get() : base_fd;
        const Found found = look_at(fd, path[i], meta);
        if (found != Found::directory) {
            target.is_final = target.is_final || found != Found::nothing;
            return;
        }
        UniqueFd next;
        check(open_at(fd, path[i].c_str(), O_DIRECTORY, next), path[i]);
        dir = std::move(next);
        const EntryMarks marks = marks_of(dir.get(), path[i]);
        if (marks.is_opaque)
            target.is_final = true;
        else if (marks.redirect) // from the end, because an earlier redirect may have moved it
            redirect_component(target, target.path.size() - (path.size() - i), *marks.redirect);
    }
    visit(layer, dir ? dir.get() : base_fd, path.back(), target);
}

void Lowers::search(DirHandle& parent, std::string_view name,
                    const std::optional<std::string>& redirect, const Visit& visit) const {
    Target target{{std::string(name)}};
    if (redirect)
        redirect_component(target, 0, *redirect);
    for (std::size_t layer = parent.layer + 1; layer <= roots_.size(); ++layer) {
        const DirHandle* base = nullptr;
        if (target.from_root) {
            base = roots_[layer - 1].get();
        } else {
            for (const DirPtr& d : below(parent))
                if (d->layer == layer)
                    base = d.get();
        }
        if (base)
            search_layer(layer, base->fd.get(), target, visit);
        if (target.is_final)
            return;
    }
}

const std::vector<DirPtr>& Lowers::below(DirHandle& dir) const {
    std::call_once(dir.below_known, [&] {
        // The tree's own directory at PREFIX: none of its parents is redirected, or it would have
        // been given its lower directories when it was opened.
        std::vector<DirPtr> stack = roots_;
        const std::string& path = *dir.prefix;
        for (std::size_t at = 0; at < path.size() && !stack.empty();) {
            const std::size_t slash = path.find('/', at);
            DirHandle parent;
            parent.set_below(std::move(stack));
            stack = merged_dirs(parent, path.substr(at, slash - at), std::nullopt, dir.prefix);
            at = slash + 1;
        }
        dir.below = std::move(stack);
    });
    return dir.below;
}

std::vector<DirPtr> Lowers::merged_dirs(DirHandle& parent, std::string_view name,
                                        const std::optional<std::string>& redirect,
                                        std::shared_ptr<const std::string> prefix) const {
    std::vector<DirPtr> dirs;
    search(parent, name, redirect,
           [&](std::size_t layer, int fd, const std::string& last, Target& target) {
               auto dir = std::make_shared<DirHandle>();
               FileMeta meta;
               const Found found = look_at(fd, last, meta);
               if (found != Found::directory) {
                   target.is_final = target.is_final || found != Found::nothing;
                   return;
               }
               check(open_at(fd, last.c_str(), O_DIRECTORY, dir->fd), last);
               const EntryMarks marks = marks_of(dir->fd.get(), last);
               dir->prefix = prefix;
               dir->dev = meta.dev;
               dir->ino = meta.ino;
               dir->layer = layer;
               dir->has_xattr_whiteouts = marks.has_xattr_whiteouts;
               dirs.push_back(std::move(dir));
               if (marks.is_opaque)
                   target.is_final = true;
               else if (marks.redirect)
                   redirect_component(target, target.path.size() - 1, *marks.redirect);
           });
    for (std::size_t i = 0; i < dirs.size(); ++i)
        dirs[i]->set_below({dirs.begin() + static_cast<std::ptrdiff_t>(i) + 1, dirs.end()});
    return dirs;
}

bool Lowers::open_data(DirHandle& parent, std::string_view name,
                       const std::optional<std::string>& redirect, UniqueFd& data) const {
    bool is_found = false;
    search(parent, name, redirect,
           [&](std::size_t, int fd, const std::string& last, Target& target) {
               FileMeta meta;
               const Found found = look_at(fd, last, meta);
               if (found != Found::file) {
                   target.is_final = target.is_final || found != Found::nothing;
                   return;
               }
               UniqueFd file;
               check(open_at(fd, last.c_str(), 0, file), last);
               const EntryMarks marks = marks_of(file.get(), last);
               if (!marks.is_metacopy) {
                   is_found = !(marks.is_xattr_whiteout && meta.size == 0);
                   data = std::move(file);
                   target.is_final = true;
               } else if (marks.redirect) {
                   redirect_component(target, target.path.size() - 1, *marks.redirect);
               }
           });
    return is_found;
}

} // namespace zl
