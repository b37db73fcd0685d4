#include "wal/restore_site.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace zl {

namespace {

// SQLite's lock bytes (os_unix.c): 1 GiB and the 512 behind it. A connection to a WAL database
// holds a shared lock there as long as it is open.
constexpr off_t kLockBytes = 0x40000000;
constexpr off_t kLockLength = 512;

std::string base_name(const std::string& path) {
    auto slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

/// rename(2) that never replaces.
void rename_new(const std::string& from, const std::string& to) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0)
        return;
    if (errno == EINVAL || errno == ENOSYS) { // a file system without it (NFS, some FUSE)
        if (::link(from.c_str(), to.c_str()) == 0) {
            ::unlink(from.c_str());
            return;
        }
    }
    if (errno == EEXIST)
        throw Error(ErrorKind::exists, to + ": exists");
    throw sys_error("rename " + from + " to " + to).with_kind(ErrorKind::exists);
}

/// Ours, and no link to elsewhere: in /tmp anybody could have put it there.
void make_own_directory(const std::string& path) {
    struct stat st {};
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        throw sys_error("create " + path)
            .with_kind(errno == ENOSPC ? ErrorKind::io : ErrorKind::exists);
    if (::lstat(path.c_str(), &st) != 0)
        return; // removed meanwhile: the caller tries again
    if (!S_ISDIR(st.st_mode) || st.st_uid != ::geteuid())
        throw Error(ErrorKind::exists, path + ": exists and is not ours", "remove it");
}

} // namespace

std::vector<std::string> sidecars_of(const std::string& file) {
    std::vector<std::string> out;
    for (const char* end : {"-wal", "-shm", "-journal"})
        if (path_exists(file + end))
            out.push_back(file + end);
    return out;
}

std::vector<std::string> move_aside(const std::string& file, const std::vector<std::string>& paths,
                                    TimePoint now) {
    std::vector<std::string> moved;
    for (const std::string& path : paths) {
        const std::string to =
            file + ".before-restore-" + format_key_time(now) + path.substr(file.size());
        rename_new(path, to);
        moved.push_back(to);
        crash_point("restore.moved");
    }
    if (!moved.empty())
        fsync_dir(dir_name(file));
    return moved;
}

std::optional<long> process_using(const std::string& file) {
    UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return std::nullopt;
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = kLockBytes;
    lock.l_len = kLockLength;
    if (::fcntl(fd.get(), F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
        return std::nullopt;
    return static_cast<long>(lock.l_pid);
}

RestoreSite::RestoreSite(std::string file, Existing existing)
    : file_(std::move(file)), mode_(existing) {
    if (file_.empty() || file_.back() == '/')
        throw Error(ErrorKind::usage, "\"" + file_ + "\" is no file name");
    const std::string parent = dir_name(file_);
    struct stat st {};
    if (::stat(parent.c_str(), &st) != 0)
        throw sys_error("directory " + parent).with_kind(ErrorKind::exists);
    if (::lstat(file_.c_str(), &st) == 0 && S_ISDIR(st.st_mode))
        throw Error(ErrorKind::exists, file_ + ": is a directory");
    if (mode_ != Existing::keep)
        refuse();
    directory_ = parent + "/." + base_name(file_) + ".zl-restore";
    while (!lock_) {
        make_own_directory(directory_);
        try {
            lock_ = FileLock::try_lock(directory_ + "/lock");
        } catch (const Error& e) {
            // The run before us removed it just now.
            if (e.kind() != ErrorKind::not_found)
                throw;
            continue;
        }
        if (!lock_)
            throw Error(ErrorKind::transient, "another zl-restore of " + file_ + " is running");
    }
    // What a run that was killed left: the store has it all.
    ::unlink((directory_ + "/segments").c_str());
    ::unlink((directory_ + "/db").c_str());
}

RestoreSite::~RestoreSite() {
    ::unlink((directory_ + "/segments").c_str());
    ::unlink((directory_ + "/db").c_str());
    lock_->remove_and_unlock();
    ::rmdir(directory_.c_str());
}

std::vector<std::string> RestoreSite::existing() const {
    std::vector<std::string> out = sidecars_of(file_);
    // The database first: a kill between the two must not leave it without its WAL, looking whole.
    if (path_exists(file_))
        out.insert(out.begin(), file_);
    return out;
}

void RestoreSite::refuse() const {
    const auto found = existing();
    if (found.empty())
        return;
    if (mode_ != Existing::force)
        throw Error(ErrorKind::exists, found.front() + ": exists",
                    "stop what uses it, then use --force, which moves it aside; or restore to "
                    "another file");
    if (auto pid = process_using(file_))
        throw Error(ErrorKind::transient, file_ + ": in use by process " + std::to_string(*pid),
                    "stop it first: it would go on writing to the file that is moved aside");
}

/// With --force the new file belongs to whom the old one did.
void RestoreSite::take_over_attributes(const std::string& db) const {
    struct stat st {};
    if (::stat(file_.c_str(), &st) != 0 || !S_ISREG(st.st_mode))
        return;
    if (::chown(db.c_str(), st.st_uid, st.st_gid) != 0 && errno != EPERM)
        throw sys_error("chown " + db).with_kind(ErrorKind::io);
    if (::chmod(db.c_str(), st.st_mode & 07777) != 0)
        throw sys_error("chmod " + db).with_kind(ErrorKind::io);
}

std::vector<std::string> RestoreSite::install(const std::string& db) {
    take_over_attributes(db);
    UniqueFd fd = open_file(db, O_RDWR);
    if (::fsync(fd.get()) != 0)
        throw sys_error("fsync " + db).with_kind(ErrorKind::io);
    fd.close_checked(db);
    crash_point("restore.proved");
    refuse();
    const auto moved = move_aside(file_, existing(), now_wall());
    rename_new(db, file_);
    fsync_dir(dir_name(file_));
    crash_point("restore.installed");
    return moved;
}

} // namespace zl
