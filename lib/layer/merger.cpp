#include "layer/merger.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "layer/acl_text.hpp"
#include "layer/beneath.hpp"
#include "layer/staging.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace zl {

namespace {

/// Both trees are open at every level while directories are merged.
constexpr int kMaxMergeDepth = 400;

[[noreturn]] void fail(const char* what, std::string_view path) {
    throw sys_error(std::string(what) + " " + show_path(path)).with_kind(ErrorKind::io);
}

[[noreturn]] void in_the_way(std::string_view path, const char* what) {
    throw Error(ErrorKind::exists, show_path(path) + ": " + what,
                "nothing was changed; move it away, or unpack elsewhere");
}

std::string join(const std::string& path, const std::string& name) {
    return path.empty() ? name : path + "/" + name;
}

std::vector<std::string> names_in(int dir) {
    std::vector<std::string> names;
    list_dir(dir, [&](const std::string& name) {
        names.push_back(name);
        return true;
    });
    return names;
}

UniqueFd open_or_fail(int dir, std::string_view path) {
    UniqueFd fd = open_dir_beneath(dir, path);
    if (!fd)
        fail("open", path);
    return fd;
}

bool has_entries(int dir, const std::string& name) {
    const UniqueFd fd = open_or_fail(dir, name);
    bool any = false;
    list_dir(fd.get(), [&](const std::string&) {
        any = true;
        return false;
    });
    return any;
}

/// Ours, or the file system's: not part of what was unpacked.
bool is_housekeeping(const std::string& path) {
    return path == kInsideStage || path == kJournalName || path == "lost+found";
}

bool is_dir(const std::optional<FoundFile>& f) {
    return f && f->kind == FileKind::directory;
}

void check_writable(int dir, std::string_view path) {
    if (::faccessat(dir, ".", W_OK | X_OK, AT_EACCESS) != 0)
        throw Error(ErrorKind::denied, (path.empty() ? "the directory" : show_path(path)) +
                                           std::string(": no permission to write"),
                    "nothing was changed");
}

/// All xattrs of @p fd.
std::vector<Xattr> read_xattrs(int fd) {
    std::vector<Xattr> xattrs;
    std::string names(kMaxXattrValue, '\0');
    const ssize_t n = ::flistxattr(fd, names.data(), names.size());
    std::string_view rest(names.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    while (!rest.empty()) {
        const std::string name(rest.substr(0, rest.find('\0')));
        std::string value(kMaxXattrValue, '\0');
        const ssize_t size = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
        if (size >= 0) {
            value.resize(static_cast<std::size_t>(size));
            xattrs.push_back({name, std::move(value)});
        }
        rest.remove_prefix(name.size() + 1);
    }
    return xattrs;
}

} // namespace

Merger::Merger(int dir, int stage, WhiteoutMode whiteouts, bool userxattr)
    : dir_(dir), stage_(stage), tree_(open_dir_beneath(stage, "tree")), whiteouts_(whiteouts),
      userxattr_(userxattr), is_root_(::geteuid() == 0) {
    if (!tree_)
        throw sys_error(std::string("open ") + kInsideStage + "/tree").with_kind(ErrorKind::data);
}

/// An opaque directory of a newer layer hides the older one's.
bool Merger::replaces(int from, const std::string& name) const {
    if (whiteouts_ != WhiteoutMode::overlay)
        return false;
    const UniqueFd fd = open_dir_beneath(from, name);
    return fd && OpaqueMarker::is_marked(fd.get());
}

std::vector<Fixup> Merger::plan(const std::vector<Deletion>& deletions,
                                const std::set<std::string>& implicit) {
    implicit_ = &implicit;
    fixups_.clear();
    for (const auto& d : deletions)
        plan_deletion(d);
    struct stat st{};
    if (::fstat(tree_.get(), &st) != 0)
        fail("stat", kInsideStage);
    if (!implicit.contains(std::string()))
        fixups_.push_back({true, st.st_mode & 07777, st.st_mtim.tv_sec,
                           static_cast<std::uint32_t>(st.st_mtim.tv_nsec), {}});
    if (!is_root_ && ::fchmod(tree_.get(), 0700) != 0)
        fail("open up", kInsideStage);
    plan_dir(tree_.get(), dir_, {});
    return std::move(fixups_);
}

void Merger::plan_dir(int from, int to, const std::string& path) {
    check_writable(to, path);
    if (++depth_ > kMaxMergeDepth)
        in_the_way(path, "merging directories nested deeper than 400 is not supported");
    for (const auto& name : names_in(from))
        plan_entry(from, to, path, name);
    --depth_;
}

void Merger::plan_entry(int from, int to, const std::string& path, const std::string& name) {
    const std::string full = join(path, name);
    if (full == kInsideStage || full == kJournalName)
        throw Error(ErrorKind::data,
                    "the layer holds '" + full + "', which zl-unpack needs for itself here",
                    "unpack beside DIR: into a new directory in a parent that can be written");
    const auto ours = look_at(from, name);
    const auto theirs = look_at(to, name);
    if (!is_dir(ours)) {
        if (is_dir(theirs) && theirs->mount_point)
            in_the_way(full, "is a mount point");
        const bool deletes = whiteouts_ == WhiteoutMode::apply ||
                             (whiteouts_ == WhiteoutMode::overlay && ours &&
                              ours->kind == FileKind::whiteout);
        if (is_dir(theirs) && !deletes && has_entries(to, name))
            in_the_way(full, "is a directory that is not empty, in the layer it is none");
        return;
    }
    if (!is_dir(theirs) || replaces(from, name)) {
        if (theirs && theirs->mount_point)
            in_the_way(full, "is a mount point");
        return plan_moved(from, full, name);
    }
    // A carrier must be open to us whatever its final mode; the fixup has that.
    if (!is_root_ && ::fchmodat(from, name.c_str(), 0700, 0) != 0)
        fail("open up", full);
    if (!implicit_->contains(full))
        fixups_.push_back({true, ours->mode, ours->mtime, ours->mtime_ns, full});
    const UniqueFd source = open_or_fail(from, name);
    const UniqueFd target = open_dir_beneath(to, name);
    if (!target && errno == EXDEV)
        in_the_way(full, "is a mount point");
    if (!target)
        throw sys_error("open " + show_path(full));
    plan_dir(source.get(), target.get(), full);
}

/// A directory that is moved as a whole. Moving changes its `..`, for which the kernel wants write
/// permission from all but root.
void Merger::plan_moved(int from, const std::string& path, const std::string& name) {
    const auto found = look_at(from, name);
    if (is_root_ || !found || (found->mode & 0700) == 0700)
        return;
    if (::fchmodat(from, name.c_str(), found->mode | 0700, 0) != 0)
        fail("open up", path);
    fixups_.push_back({false, found->mode, found->mtime, found->mtime_ns, path});
}

void Merger::plan_deletion(const Deletion& d) {
    const auto [parent, name] = d.opaque ? SplitPath{d.path, {}} : split_path(d.path);
    const UniqueFd dir = open_dir_beneath(dir_, parent);
    if (!dir && errno == EXDEV)
        in_the_way(parent, "is, or is below, a mount point");
    if (!dir)
        return; // nothing there to delete
    check_writable(dir.get(), parent);
    const auto check = [&](const std::string& entry) {
        const auto found = look_at(dir.get(), entry);
        if (found && found->mount_point)
            in_the_way(join(std::string(parent), entry), "is a mount point");
    };
    if (!d.opaque)
        return check(std::string(name));
    for (const auto& entry : names_in(dir.get()))
        if (!is_housekeeping(join(d.path, entry)))
            check(entry);
}

void Merger::to_trash(int dir, const std::string& name) {
    if (::mkdirat(stage_, "trash", 0700) != 0 && errno != EEXIST)
        fail("make", "trash");
    for (;; ++next_trash_) {
        const std::string to = "trash/" + std::to_string(next_trash_);
        if (::renameat2(dir, name.c_str(), stage_, to.c_str(), RENAME_NOREPLACE) == 0 ||
            errno == ENOENT)
            return;
        if (errno == EXDEV || errno == EINVAL) {
            // overlayfs does not move directories of its lower layers; others lack NOREPLACE.
            return remove_tree(dir, name);
        }
        if (errno != EEXIST)
            fail("replace", name);
    }
}

void Merger::delete_all(const std::vector<Deletion>& deletions) {
    for (const auto& d : deletions) {
        const auto [parent, name] = d.opaque ? SplitPath{d.path, {}} : split_path(d.path);
        const UniqueFd dir = open_dir_beneath(dir_, parent);
        if (!dir)
            continue;
        if (!d.opaque) {
            to_trash(dir.get(), std::string(name));
            continue;
        }
        for (const auto& entry : names_in(dir.get()))
            if (!is_housekeeping(join(d.path, entry)))
                to_trash(dir.get(), entry);
    }
}

void Merger::move_all() { move_dir(tree_.get(), dir_, 0); }

void Merger::move_dir(int from, int to, int depth) {
    if (depth > kMaxMergeDepth)
        throw Error(ErrorKind::io, "directories nested too deep");
    for (const auto& name : names_in(from))
        move_entry(from, to, name, depth);
}

void Merger::move_entry(int from, int to, const std::string& name, int depth) {
    const auto ours = look_at(from, name);
    const auto theirs = look_at(to, name);
    const bool dir = is_dir(ours);
    if (dir && is_dir(theirs) && !replaces(from, name)) {
        const UniqueFd source = open_or_fail(from, name);
        const UniqueFd target = open_or_fail(to, name);
        return move_dir(source.get(), target.get(), depth + 1);
    }
    if (dir && whiteouts_ == WhiteoutMode::overlay && theirs &&
        theirs->kind == FileKind::whiteout) {
        const UniqueFd fd = open_or_fail(from, name);
        OpaqueMarker(userxattr_).mark(fd.get(), name);
    }
    if (theirs && (dir || is_dir(theirs))) // rename replaces a file by a file at once
        to_trash(to, name);
    if (::renameat(from, name.c_str(), to, name.c_str()) != 0)
        fail("move into place", name);
    crash_point("unpack.moved_one");
}

void Merger::fix_all(const std::vector<Fixup>& fixups, Losses& losses) {
    AttributeWriter writer({true}, losses);
    // Planned parents first; times must be set children first.
    for (auto f = fixups.rbegin(); f != fixups.rend(); ++f) {
        const UniqueFd target = open_dir_beneath(dir_, f->path);
        // Repeated after a crash: it has its final mode already, and that shuts its owner out.
        if (!target && errno == EACCES && !is_root_)
            continue;
        if (!target)
            fail("open", f->path);
        const UniqueFd carrier =
            f->merged ? open_dir_beneath(tree_.get(), f->path) : UniqueFd();
        if (f->merged && !carrier && errno != ENOENT)
            fail("open", f->path);
        if (!carrier) {
            // Moved as a whole. Also where plan() saw two directories to merge, but a deletion took
            // the one in DIR away first.
            if (::fchmod(target.get(), f->mode) != 0)
                fail("chmod", f->path);
            continue;
        }
        struct stat st{};
        if (::fstat(carrier.get(), &st) != 0)
            fail("stat", f->path);
        TarEntry e;
        e.type = EntryType::directory;
        e.path = f->path.empty() ? "." : f->path;
        e.mode = f->mode;
        e.uid = st.st_uid;
        e.gid = st.st_gid;
        e.mtime = f->mtime;
        e.mtime_ns = f->mtime_ns;
        e.xattrs = read_xattrs(carrier.get());
        for (const auto acl : {kAclAccess, kAclDefault})
            ::fremovexattr(target.get(), std::string(acl).c_str());
        constexpr std::uint32_t kUnknown = 0xffffffff;
        writer.restore(target.get(), e, kUnknown);
    }
}

} // namespace zl
