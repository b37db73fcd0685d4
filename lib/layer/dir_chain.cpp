#include "layer/dir_chain.hpp"

#include "base/error.hpp"
#include "layer/acl_text.hpp"
#include "layer/beneath.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

namespace zl {

namespace {

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
/// Levels that keep their descriptor; the others are reopened through `..`.
constexpr std::size_t kOpenLevels = 128;
/// Attributes of all open levels: a hostile archive could nest thousands with megabytes each.
constexpr std::size_t kMaxPendingBytes = 64 << 20;

[[noreturn]] void fail(const char* what, std::string_view path) {
    throw sys_error(std::string(what) + " " + show_path(path)).with_kind(ErrorKind::io);
}

/// State of a finished directory that is entered again, as an entry to restore it by.
TarEntry current_state(int fd, std::string_view path) {
    struct stat st{};
    if (::fstat(fd, &st) != 0)
        fail("stat", path);
    TarEntry e;
    e.type = EntryType::directory;
    e.path = path;
    e.mode = st.st_mode & 07777;
    e.uid = st.st_uid;
    e.gid = st.st_gid;
    e.mtime = st.st_mtim.tv_sec;
    e.mtime_ns = static_cast<std::uint32_t>(st.st_mtim.tv_nsec);
    // The other xattrs stay on it; a default ACL would be inherited by what comes now.
    std::string value(kMaxXattrValue, '\0');
    const std::string name(kAclDefault);
    const ssize_t n = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (n > 0) {
        value.resize(static_cast<std::size_t>(n));
        e.xattrs.push_back({name, value});
        ::fremovexattr(fd, name.c_str());
    }
    return e;
}

/// Plain whiteouts in an opaque directory hide nothing and show as broken names.
void remove_whiteouts(int fd) {
    std::vector<std::string> names;
    list_dir(fd, [&](const std::string& name) {
        const auto found = look_at(fd, name);
        if (found && found->kind == FileKind::whiteout)
            names.push_back(name);
        return true;
    });
    for (const auto& name : names)
        ::unlinkat(fd, name.c_str(), 0);
}

} // namespace

DirChain::DirChain(int root, AttributeWriter& attributes, OpaqueMarker& marker)
    : attributes_(attributes), marker_(marker) {
    UniqueFd fd(::openat(root, ".", kDirFlags));
    if (!fd)
        throw sys_error("open the stage").with_kind(ErrorKind::io);
    levels_.emplace_back();
    levels_.back().fd = std::move(fd);
}

void DirChain::push(const std::string& name, UniqueFd fd) {
    if (levels_.size() >= kOpenLevels) {
        ChainedDir& far = levels_[levels_.size() - kOpenLevels];
        struct stat st{};
        if (far.fd && ::fstat(far.fd.get(), &st) == 0) {
            far.device = st.st_dev;
            far.inode = st.st_ino;
            far.fd.reset();
        }
    }
    const bool opaque = levels_.back().opaque;
    levels_.emplace_back();
    levels_.back().name = name;
    levels_.back().fd = std::move(fd);
    levels_.back().opaque = opaque;
    if (!path_.empty())
        path_ += '/';
    path_ += name;
}

bool DirChain::make(const std::string& name) {
    if (::mkdirat(fd(), name.c_str(), 0700) != 0) {
        if (errno == EEXIST)
            return false;
        fail("make directory", path_ + "/" + name);
    }
    UniqueFd made(::openat(fd(), name.c_str(), kDirFlags));
    if (!made)
        fail("open directory", path_ + "/" + name);
    push(name, std::move(made));
    return true;
}

bool DirChain::enter(const std::string& name) {
    const auto found = look_at(fd(), name);
    if (!found || found->kind != FileKind::directory)
        return false;
    // Finished, maybe with a mode that shuts its owner out. Nobody else changes the stage: the name
    // is still that directory.
    if ((found->mode & 0700) != 0700 &&
        ::fchmodat(fd(), name.c_str(), found->mode | 0700, 0) != 0)
        fail("open up", path_ + "/" + name);
    UniqueFd there = open_dir_beneath(fd(), name);
    if (!there)
        fail("open directory", path_ + "/" + name);
    push(name, std::move(there));
    top().opaque |= OpaqueMarker::is_marked(fd());
    TarEntry state = current_state(fd(), path_);
    state.mode = found->mode;
    set_attributes(std::move(state));
    if (::fchmod(fd(), 0700) != 0)
        fail("open up", path_);
    return true;
}

void DirChain::set_attributes(TarEntry&& entry) {
    ChainedDir& level = top();
    cost_ -= level.cost;
    level.attributes = std::move(entry);
    level.has_attributes = true;
    level.cost = sizeof(TarEntry);
    for (const auto& x : level.attributes.xattrs)
        level.cost += sizeof(Xattr) + x.name.size() + x.value.size();
    cost_ += level.cost;
    if (cost_ > kMaxPendingBytes)
        throw Error(ErrorKind::data, "archive entry '" + show_path(path_) +
                                         "': nested too deep with too many xattrs");
}

void DirChain::complete(ChainedDir& level) {
    if (level.mark)
        marker_.mark(level.fd.get(), path_);
    if (level.opaque && level.whiteouts)
        remove_whiteouts(level.fd.get());
    if (level.has_attributes)
        attributes_.restore(level.fd.get(), level.attributes, 0700);
}

void DirChain::leave() {
    complete(top());
    ChainedDir& above = levels_[levels_.size() - 2];
    if (!above.fd) {
        UniqueFd up(::openat(fd(), "..", kDirFlags));
        struct stat st{};
        if (!up || ::fstat(up.get(), &st) != 0)
            fail("open the parent of", path_);
        if (st.st_dev != above.device || st.st_ino != above.inode)
            throw Error(ErrorKind::io, show_path(path_) + ": was moved while unpacking");
        above.fd = std::move(up);
    }
    cost_ -= top().cost;
    path_.resize(path_.size() - top().name.size());
    if (!path_.empty())
        path_.pop_back(); // the slash
    levels_.pop_back();
}

void DirChain::rise_to(std::string_view path) {
    while (!path_.empty() &&
           !(path.starts_with(path_) &&
             (path.size() == path_.size() || path[path_.size()] == '/')))
        leave();
}

void DirChain::finish() {
    rise_to({});
    complete(top());
}

int DirChain::find(std::string_view path) const {
    if (path == path_)
        return fd();
    if (path.empty())
        return levels_.front().fd.get();
    if (path.size() >= path_.size() || !std::string_view(path_).starts_with(path) ||
        path_[path.size()] != '/')
        return -1;
    std::size_t length = 0;
    for (std::size_t i = 1; i < levels_.size(); ++i) {
        length += levels_[i].name.size() + (i > 1 ? 1 : 0);
        if (length == path.size())
            return levels_[i].fd.get();
    }
    return -1;
}

} // namespace zl
