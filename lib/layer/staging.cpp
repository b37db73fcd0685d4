#include "layer/staging.hpp"

#include "base/error.hpp"
#include "layer/acl_text.hpp"
#include "layer/beneath.hpp"
#include "layer/stage_backends.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>

namespace zl {

namespace {

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

std::string base_name(const std::string& path) {
    const auto end = path.find_last_not_of('/');
    if (end == std::string::npos)
        return "/";
    const auto slash = path.rfind('/', end);
    return path.substr(slash + 1, end - slash);
}

/// nullopt: does not exist.
std::optional<std::string> real_path(const std::string& path) {
    char resolved[PATH_MAX];
    if (::realpath(path.c_str(), resolved))
        return std::string(resolved);
    if (errno != ENOENT)
        throw sys_error("resolve " + path).with_kind(ErrorKind::exists);
    return std::nullopt;
}

StageTarget find_target(const std::string& dir) {
    StageTarget t;
    if (const auto there = real_path(dir)) {
        t.dir = *there;
        t.parent = dir_name(t.dir);
        t.dir_fd = UniqueFd(::open(t.dir.c_str(), kDirFlags));
        if (!t.dir_fd)
            throw sys_error("open directory " + dir)
                .with_kind(errno == ENOTDIR ? ErrorKind::exists : ErrorKind::denied);
    } else {
        if (path_exists(dir))
            throw Error(ErrorKind::exists, dir + ": is a symbolic link to nothing");
        const auto parent = real_path(dir_name(dir));
        if (!parent)
            throw Error(ErrorKind::exists, "cannot make " + dir + ": no directory " + dir_name(dir),
                        "make the parent directory first");
        t.parent = *parent;
        t.dir = (t.parent == "/" ? "" : t.parent) + "/" + base_name(dir);
    }
    t.name = base_name(t.dir);
    if (t.name == "." || t.name == "..")
        throw Error(ErrorKind::exists, "cannot make " + dir);
    t.parent_fd = UniqueFd(::open(t.parent.c_str(), kDirFlags));
    // A parent that may be passed but not read is like one that cannot be written.
    if (!t.parent_fd && (!t.dir_fd || errno != EACCES))
        throw sys_error("open directory " + t.parent);
    return t;
}

bool is_mount_point(const StageTarget& t) {
    struct statx st{};
    if (::statx(t.dir_fd.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) == 0 &&
        (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0)
        return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    struct stat dir{}, parent{};
    return ::fstat(t.dir_fd.get(), &dir) == 0 && ::stat(t.parent.c_str(), &parent) == 0 &&
           (dir.st_dev != parent.st_dev || dir.st_ino == parent.st_ino);
}

enum class Content { empty, housekeeping, files };

Content content_of(int dir_fd) {
    Content found = Content::empty;
    list_dir(dir_fd, [&](const std::string& name) {
        const bool house = name == "lost+found" || name == kInsideStage;
        found = house ? Content::housekeeping : Content::files;
        return house;
    });
    return found;
}

} // namespace

bool try_lock_dir(int fd) {
    return ::flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

void neutralise_dir(int fd) {
    for (const auto acl : {kAclAccess, kAclDefault})
        ::fremovexattr(fd, std::string(acl).c_str());
    if (::fchmod(fd, 0700) != 0)
        throw sys_error("chmod the stage").with_kind(ErrorKind::io);
}

void sync_file_system(int fd) {
    if (::syncfs(fd) != 0)
        throw sys_error("sync the file system").with_kind(ErrorKind::io);
}

std::unique_ptr<Stage> open_stage(const StageOptions& options, Log& log, Losses& losses) {
    StageTarget target = find_target(options.dir);
    bool inside = options.merge && target.dir_fd;
    if (target.dir_fd && !options.merge) {
        const Content content = content_of(target.dir_fd.get());
        if (content == Content::files)
            throw Error(ErrorKind::exists, options.dir + ": is not empty",
                        "choose an empty or new directory, or merge into it with --merge");
        inside = content == Content::housekeeping || !target.parent_fd || is_mount_point(target);
    }
    if (!inside) {
        if (auto stage = make_beside_stage(target, options, log))
            return stage;
        if (!target.dir_fd)
            throw Error(ErrorKind::exists, "cannot make " + options.dir + ": " + target.parent +
                                               " cannot be written");
    }
    return make_inside_stage(target, options, log, losses);
}

std::optional<std::string> finish_interrupted(const std::string& dir, Log& log, Losses& losses) {
    const UniqueFd fd(::open(dir.c_str(), kDirFlags));
    if (!fd)
        return std::nullopt;
    const auto journal = read_journal(fd.get());
    if (!journal)
        return std::nullopt;
    log.warn("finishing an unpacking of sha256:" + journal->digest + " that was interrupted");
    finish_inside(fd.get(), *journal, log, losses);
    return journal->digest;
}

bool is_incomplete(const std::string& dir) {
    const UniqueFd fd(::open(dir.c_str(), kDirFlags));
    if (!fd)
        throw sys_error("open directory " + dir);
    return look_at(fd.get(), kJournalName).has_value();
}

} // namespace zl
