#include "base/file.hpp"

#include "base/error.hpp"
#include "base/random.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace zl {

UniqueFd& UniqueFd::operator=(UniqueFd&& o) noexcept {
    if (this != &o) {
        reset();
        fd_ = o.release();
    }
    return *this;
}

void UniqueFd::reset() noexcept {
    if (fd_ >= 0)
        ::close(fd_);
    fd_ = -1;
}

void UniqueFd::close_checked(std::string_view name) {
    int fd = release();
    if (fd >= 0 && ::close(fd) != 0 && errno != EINTR)
        throw sys_error("close " + std::string(name));
}

UniqueFd open_file(const std::string& path, int flags, mode_t mode) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
    if (!fd)
        throw sys_error("open " + path);
    return fd;
}

namespace {

/// Calls @p io(done) until it returns 0 or @p size is reached.
template <typename Io>
std::size_t loop_io(std::size_t size, std::string_view verb, std::string_view name, Io io) {
    std::size_t done = 0;
    while (done < size) {
        ssize_t n = io(done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            throw sys_error(std::string(verb) + " " + std::string(name)).with_kind(ErrorKind::io);
        if (n == 0)
            break;
        done += static_cast<std::size_t>(n);
    }
    return done;
}

} // namespace

std::size_t read_full(int fd, std::span<std::byte> b, std::string_view name) {
    return loop_io(b.size(), "read", name,
                   [&](std::size_t d) { return ::read(fd, b.data() + d, b.size() - d); });
}

std::size_t pread_full(int fd, std::span<std::byte> b, std::uint64_t offset,
                       std::string_view name) {
    return loop_io(b.size(), "read", name, [&](std::size_t d) {
        return ::pread(fd, b.data() + d, b.size() - d, static_cast<off_t>(offset + d));
    });
}

void write_full(int fd, std::span<const std::byte> data, std::string_view name) {
    loop_io(data.size(), "write", name,
            [&](std::size_t d) { return ::write(fd, data.data() + d, data.size() - d); });
}

void pwrite_full(int fd, std::span<const std::byte> data, std::uint64_t offset,
                 std::string_view name) {
    loop_io(data.size(), "write", name, [&](std::size_t d) {
        return ::pwrite(fd, data.data() + d, data.size() - d, static_cast<off_t>(offset + d));
    });
}

std::optional<std::string> read_file(const std::string& path, std::size_t max_bytes) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        if (errno == ENOENT || errno == ENOTDIR)
            return std::nullopt;
        throw sys_error("open " + path);
    }
    std::string out;
    std::size_t step = 64 << 10;
    for (;;) {
        std::size_t at = out.size();
        out.resize(at + step);
        std::size_t n =
            read_full(fd.get(), std::as_writable_bytes(std::span(out.data() + at, step)), path);
        out.resize(at + n);
        if (out.size() > max_bytes)
            throw Error(ErrorKind::io, path + ": larger than " + std::to_string(max_bytes) +
                                           " bytes");
        if (n < step)
            return out;
    }
}

void fsync_dir(const std::string& path) {
    UniqueFd fd = open_file(path, O_RDONLY | O_DIRECTORY);
    // Some file systems (9p, old FUSE) cannot sync a directory: nothing more can be done there.
    if (::fsync(fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
        throw sys_error("fsync " + path);
}

std::string dir_name(const std::string& path) {
    auto end = path.find_last_not_of('/');
    if (end == std::string::npos)
        return path.empty() ? "." : "/";
    auto slash = path.rfind('/', end);
    if (slash == std::string::npos)
        return ".";
    auto keep = path.find_last_not_of('/', slash);
    return keep == std::string::npos ? "/" : path.substr(0, keep + 1);
}

bool path_exists(const std::string& path) {
    struct stat st;
    if (::lstat(path.c_str(), &st) == 0)
        return true;
    if (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG)
        return false;
    throw sys_error("stat " + path);
}

void make_dirs(const std::string& path, mode_t mode) {
    struct stat st;
    if (::stat(path.c_str(), &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            throw sys_error("mkdir " + path, ENOTDIR);
        return;
    }
    std::string parent = dir_name(path);
    if (parent != path)
        make_dirs(parent, mode);
    if (::mkdir(path.c_str(), mode) != 0) {
        if (errno == EEXIST)
            return;
        throw sys_error("mkdir " + path);
    }
    fsync_dir(parent);
}

AtomicFile::AtomicFile(std::string path, mode_t mode, bool replace)
    : path_(std::move(path)), replace_(replace) {
    for (int i = 0; i < 16 && !fd_; ++i) {
        auto slash = path_.rfind('/');
        // The dot hides it from listings of the directory store; the suffix lets a sweep know it.
        std::string base = slash == std::string::npos ? path_ : path_.substr(slash + 1);
        temp_ = dir_name(path_) + "/." + base.substr(0, 200) + "." + random_hex(8) + ".tmp";
        fd_ = UniqueFd(::open(temp_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
        if (!fd_ && errno != EEXIST)
            throw sys_error("create " + temp_);
    }
    if (!fd_)
        throw sys_error("create " + temp_);
}

AtomicFile::~AtomicFile() {
    if (!temp_.empty())
        ::unlink(temp_.c_str());
}

void AtomicFile::write(std::span<const std::byte> data) { write_full(fd_.get(), data, temp_); }
void AtomicFile::write(std::string_view text) { write(as_bytes(text)); }

void AtomicFile::commit() {
    if (::fsync(fd_.get()) != 0)
        throw sys_error("fsync " + temp_).with_kind(ErrorKind::io);
    fd_.close_checked(temp_);
    if (replace_) {
        if (::rename(temp_.c_str(), path_.c_str()) != 0)
            throw sys_error("rename " + temp_ + " to " + path_);
    } else {
        // link(2) fails where the name exists: the atomic "create only".
        if (::link(temp_.c_str(), path_.c_str()) != 0) {
            if (errno == EEXIST)
                throw Error(ErrorKind::exists, path_ + ": exists");
            throw sys_error("link " + temp_ + " to " + path_);
        }
        ::unlink(temp_.c_str());
    }
    temp_.clear();
    fsync_dir(dir_name(path_));
}

std::optional<FileLock> FileLock::try_lock(const std::string& path, mode_t mode) {
    for (;;) {
        UniqueFd fd = open_file(path, O_RDWR | O_CREAT, mode);
        if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK)
                return std::nullopt;
            throw sys_error("lock " + path);
        }
        // The holder before us may have removed the name: then this is a lock on nothing.
        struct stat ours, named;
        if (::fstat(fd.get(), &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
            ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
            return FileLock(std::move(fd), path);
    }
}

void FileLock::remove_and_unlock() {
    ::unlink(path_.c_str());
    fd_.reset();
}

} // namespace zl
