#include "layer/applier.hpp"

#include "base/error.hpp"
#include "layer/beneath.hpp"
#include "layer/hole_writer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

namespace zl {

namespace {

[[noreturn]] void refuse(std::string_view path, const std::string& why) {
    throw Error(ErrorKind::data, "archive entry '" + show_path(path) + "': " + why);
}

[[noreturn]] void fail(const char* what, const TarEntry& entry) {
    throw sys_error(std::string(what) + " " + show_path(entry.path)).with_kind(ErrorKind::io);
}

/// A parent directory that the archive does not describe.
TarEntry implicit_directory(std::string_view path) {
    TarEntry e;
    e.type = EntryType::directory;
    e.path = path;
    e.mode = 0755;
    e.uid = ::geteuid();
    e.gid = ::getegid();
    e.mtime = ::time(nullptr);
    return e;
}

/// AUFS keeps its books in `.wh..wh.aufs`, `.wh..wh.orph/`, `.wh..wh.plnk/` (old Docker layers).
bool is_aufs_book(std::string_view component) {
    return component.starts_with(".wh..wh.") && component != kOpaqueName;
}

bool in_aufs_book(std::string_view path) {
    while (!path.empty()) {
        const auto slash = path.find('/');
        if (is_aufs_book(path.substr(0, slash)))
            return true;
        path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    }
    return false;
}

bool is_whiteout_node(const TarEntry& e) {
    return e.type == EntryType::char_device && e.dev_major == 0 && e.dev_minor == 0;
}

} // namespace

Applier::Applier(int stage, Options options, OnDelete on_delete, Losses& losses,
                 std::stop_token stop)
    : stage_(stage), options_(options), on_delete_(std::move(on_delete)), losses_(losses),
      stop_(std::move(stop)), attributes_({options.same_owner}, losses),
      marker_(options.userxattr), chain_(stage, attributes_, marker_) {}

void Applier::add(TarEntry& entry, EntryReader& content) {
    if (stop_.stop_requested())
        throw Interrupted();
    if (std::exchange(first_, false) && entry.path.empty())
        overlay_form_ = entry.comment == kOverlayFormComment;
    else if (entry.path.empty() && !options_.foreign)
        refuse(".", "the root is not the first entry");
    if (entry.path.empty())
        return add_root(entry);
    if (options_.foreign && in_aufs_book(entry.path))
        return;
    const auto [parent, name] = split_path(entry.path);
    enter_parent(parent);
    if (is_wh_name(name) && take_whiteout_name(entry, name))
        return;
    take_overlay_xattrs(entry);
    add_named(entry, std::string(name), content);
}

void Applier::finish() { chain_.finish(); }

/// Everything in an own stream comes directly after its directory; a parent that is not in the chain
/// is missing, not a directory, or a symbolic link to write through.
void Applier::enter_parent(std::string_view parent) {
    chain_.rise_to(parent);
    while (chain_.path().size() < parent.size()) {
        const std::size_t begin = chain_.path().empty() ? 0 : chain_.path().size() + 1;
        const std::size_t end = std::min(parent.find('/', begin), parent.size());
        const std::string name(parent.substr(begin, end - begin));
        const std::string_view path = parent.substr(0, end);
        if (!options_.foreign)
            refuse(path, "entries below it, but it is no directory that comes before them");
        if (is_wh_name(name))
            refuse(path, "a whiteout with entries below it");
        if (chain_.make(name)) {
            chain_.set_attributes(implicit_directory(path));
            implicit_.insert(std::string(path));
        } else if (!chain_.enter(name)) {
            refuse(path, "entries below it, but it is not a directory");
        }
    }
}

void Applier::add_root(TarEntry& entry) {
    if (entry.type != EntryType::directory)
        refuse(".", "the root is not a directory");
    take_overlay_xattrs(entry);
    chain_.rise_to({});
    if (opaque_entry_)
        opaque(entry);
    chain_.set_attributes(std::move(entry));
    implicit_.erase(std::string());
}

void Applier::add_named(TarEntry& e, const std::string& name, EntryReader& content) {
    if (whiteout_entry_ || (is_whiteout_node(e) && (options_.whiteouts == WhiteoutMode::apply ||
                                                    live_marks())))
        return whiteout(name, e);
    switch (e.type) {
    case EntryType::directory:
        return make_directory(e, name);
    case EntryType::file:
        return make_file(e, name, &content);
    case EntryType::symlink:
        return make_symlink(e, name);
    case EntryType::hardlink:
        return make_hardlink(e, name);
    case EntryType::char_device:
    case EntryType::block_device:
    case EntryType::fifo:
        return make_node(e, name);
    case EntryType::whiteout:
    case EntryType::opaque:
        break;
    }
    throw Error(ErrorKind::internal, "tar reader gave a whiteout");
}

/// A name that OCI reserves. False: it is to be made as the file that it is.
bool Applier::take_whiteout_name(const TarEntry& e, std::string_view name) {
    const auto target = wh_target(name);
    if (name != kOpaqueName && !target)
        refuse(e.path, "not a valid whiteout name");
    // A hard link would be one if its target is empty; nobody writes that.
    if (e.type != EntryType::file || e.size != 0)
        refuse(e.path, "a whiteout that is not an empty file");
    if (options_.whiteouts == WhiteoutMode::oci)
        return false;
    if (target)
        whiteout(std::string(*target), e);
    else
        opaque(e);
    return true;
}

/// Sorts out overlay's xattrs (A4).
void Applier::take_overlay_xattrs(TarEntry& e) {
    opaque_entry_ = whiteout_entry_ = false;
    std::vector<Xattr> kept;
    kept.reserve(e.xattrs.size());
    for (auto& x : e.xattrs) {
        const OverlayXattr kind = classify_overlay_xattr(x.name);
        if (kind != OverlayXattr::none && !live_marks() &&
            options_.whiteouts != WhiteoutMode::oci)
            x.name = escape_overlay_xattr(x.name);
        if (kind == OverlayXattr::none || kind == OverlayXattr::escaped || !live_marks() ||
            (kind == OverlayXattr::other && overlay_form_)) {
            kept.push_back(std::move(x));
            continue;
        }
        if (kind == OverlayXattr::redirect || kind == OverlayXattr::metacopy)
            refuse(e.path, x.name + ": its content is not in the layer");
        // The other marks are true on the packing host only.
        opaque_entry_ |= kind == OverlayXattr::opaque && e.type == EntryType::directory &&
                         x.value == "y";
        whiteout_entry_ |=
            kind == OverlayXattr::whiteout && e.type == EntryType::file && e.size == 0;
    }
    e.xattrs = std::move(kept);
}

void Applier::whiteout(const std::string& name, const TarEntry& e) {
    switch (options_.whiteouts) {
    case WhiteoutMode::overlay:
        // Below an opaque directory there is nothing to hide.
        if (!chain_.top().opaque)
            make_whiteout(name, e);
        return;
    case WhiteoutMode::apply:
        if (on_delete_)
            on_delete_(
                {chain_.path().empty() ? name : chain_.path() + "/" + name, false});
        return;
    case WhiteoutMode::oci:
        return make_mark_file(make_wh_name(name), e);
    }
}

void Applier::make_whiteout(const std::string& name, const TarEntry& e) {
    if (::mknodat(chain_.fd(), name.c_str(), S_IFCHR, makedev(0, 0)) == 0) {
        chain_.top().whiteouts = true;
        if (is_whiteout_node(e)) // a `.wh.` file's attributes mean nothing; a device's are its own
            attributes_.restore_at(chain_.fd(), name, e);
        return;
    }
    if (errno != EEXIST) {
        if (errno != EPERM && errno != ENOTSUP && errno != EACCES)
            fail("make whiteout for", e);
        throw Error(ErrorKind::denied,
                    "cannot make the whiteout for '" + show_path(e.path) +
                        "': " + std::strerror(errno),
                    "without it a deleted file would come back; run as root, or unpack with "
                    "--whiteouts=apply or oci");
    }
    if (!options_.foreign)
        refuse(e.path, "a whiteout after what it names");
    // OCI: a whiteout speaks of lower layers only, wherever it stands.
    const auto found = look_at(chain_.fd(), name);
    if (found && found->kind == FileKind::directory && chain_.enter(name)) {
        chain_.top().mark = chain_.top().opaque = chain_.top().whiteouts = true;
        chain_.rise_to(split_path(chain_.path()).parent);
    }
}

/// The innermost directory hides everything below it.
void Applier::opaque(const TarEntry& e) {
    switch (options_.whiteouts) {
    case WhiteoutMode::overlay:
        chain_.top().mark = chain_.top().opaque = true;
        return;
    case WhiteoutMode::apply:
        if (on_delete_)
            on_delete_({chain_.path(), true});
        return;
    case WhiteoutMode::oci:
        return make_mark_file(std::string(kOpaqueName), e);
    }
}

/// An empty file with the owner of @p like: overlay form to OCI form.
void Applier::make_mark_file(const std::string& name, const TarEntry& like) {
    TarEntry e;
    e.path = chain_.path().empty() ? name : chain_.path() + "/" + name;
    e.mode = 0600;
    e.uid = like.uid;
    e.gid = like.gid;
    make_file(e, name, nullptr);
}

/// @p name is taken. A whiteout made before says only that a lower file is gone, and so does the new
/// entry by being there. All else is refused, as OCI demands: which of two would count?
void Applier::make_room(const TarEntry& e, const std::string& name) {
    const auto found = look_at(chain_.fd(), name);
    if (!found || found->kind != FileKind::whiteout || is_whiteout_node(e) ||
        options_.whiteouts != WhiteoutMode::overlay)
        refuse(e.path, "the same name a second time");
    if (::unlinkat(chain_.fd(), name.c_str(), 0) != 0)
        fail("replace", e);
}

void Applier::make_directory(TarEntry& e, const std::string& name) {
    const bool marked = opaque_entry_;
    bool replaces_whiteout = false;
    if (!chain_.make(name)) {
        const auto found = look_at(chain_.fd(), name);
        if (found && found->kind == FileKind::whiteout) {
            make_room(e, name);
            // The layer says both "d is gone" and "here is d": nothing of the lower d shows.
            replaces_whiteout = options_.whiteouts == WhiteoutMode::overlay;
            if (!chain_.make(name))
                fail("make directory", e);
        } else if (!options_.foreign || !chain_.enter(name)) {
            refuse(e.path, "the same name a second time");
        }
    }
    implicit_.erase(e.path);
    if (replaces_whiteout)
        chain_.top().mark = chain_.top().opaque = true;
    if (marked)
        opaque(e);
    chain_.set_attributes(std::move(e));
}

void Applier::make_file(const TarEntry& e, const std::string& name, EntryReader* content) {
    const std::uint32_t mode = attributes_.creation_mode(e);
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd fd(::openat(chain_.fd(), name.c_str(), flags, mode));
    if (!fd && errno == EEXIST) {
        make_room(e, name);
        fd = UniqueFd(::openat(chain_.fd(), name.c_str(), flags, mode));
    }
    if (!fd)
        fail("create", e);
    HoleWriter writer(fd.get(), e.path);
    if (content)
        while (const auto piece = content->read()) {
            if (stop_.stop_requested())
                throw Interrupted();
            writer.write(piece->offset, piece->data);
            bytes_ += piece->data.size();
        }
    writer.finish(e.size);
    attributes_.restore(fd.get(), e, mode);
    fd.close_checked(e.path);
}

void Applier::make_symlink(const TarEntry& e, const std::string& name) {
    int rc = ::symlinkat(e.link.c_str(), chain_.fd(), name.c_str());
    if (rc != 0 && errno == EEXIST) {
        make_room(e, name);
        rc = ::symlinkat(e.link.c_str(), chain_.fd(), name.c_str());
    }
    if (rc != 0 && errno == ENAMETOOLONG)
        refuse(e.path, "symbolic link of " + std::to_string(e.link.size()) + " bytes");
    if (rc != 0)
        fail("make symbolic link", e);
    attributes_.restore_at(chain_.fd(), name, e);
}

void Applier::make_hardlink(const TarEntry& e, const std::string& name) {
    if (options_.foreign && in_aufs_book(e.link))
        refuse(e.path, "hard link into AUFS' own directory");
    if (skipped_.contains(e.link)) {
        skipped_.insert(e.path);
        return losses_.add("device nodes", e.path, "hard link to one");
    }
    const auto [parent, target] = split_path(e.link);
    int dir = chain_.find(parent);
    if (dir < 0) {
        if (!link_dir_ || link_dir_path_ != parent) {
            link_dir_ = open_dir_beneath(stage_, parent);
            link_dir_path_ = parent;
        }
        dir = link_dir_.get();
    }
    // No AT_SYMLINK_FOLLOW: a link to a symbolic link links that itself.
    const auto link = [&] {
        return dir < 0 ? -1
                       : ::linkat(dir, std::string(target).c_str(), chain_.fd(), name.c_str(), 0);
    };
    int rc = link();
    if (rc != 0 && dir >= 0 && errno == EEXIST) {
        make_room(e, name);
        rc = link();
    }
    if (rc == 0)
        return;
    if (errno == ENOENT && options_.partial)
        throw Error(ErrorKind::usage,
                    show_path(e.path) + ": is a hard link to " + show_path(e.link) +
                        ", which was not chosen",
                    "name '" + show_path(e.link) + "' too");
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
        refuse(e.path, "hard link to '" + show_path(e.link) + "', which does not come before it");
    const int error = errno;
    const auto found = dir >= 0 ? look_at(dir, std::string(target)) : std::nullopt;
    if (found && found->kind == FileKind::directory)
        refuse(e.path, "hard link to a directory");
    errno = error;
    fail("make hard link", e);
}

void Applier::make_node(const TarEntry& e, const std::string& name) {
    const bool fifo = e.type == EntryType::fifo;
    const mode_t type = fifo ? S_IFIFO : e.type == EntryType::char_device ? S_IFCHR : S_IFBLK;
    const auto make = [&] {
        return ::mknodat(chain_.fd(), name.c_str(), type | (e.mode & 0777),
                         fifo ? 0 : makedev(e.dev_major, e.dev_minor));
    };
    int rc = make();
    if (rc != 0 && errno == EEXIST) {
        make_room(e, name);
        rc = make();
    }
    if (rc != 0 && !fifo && (errno == EPERM || errno == EACCES)) {
        skipped_.insert(e.path);
        return losses_.add("device nodes", e.path, std::strerror(errno));
    }
    if (rc != 0)
        fail("make node", e);
    attributes_.restore_at(chain_.fd(), name, e);
}

} // namespace zl
