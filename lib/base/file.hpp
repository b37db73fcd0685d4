/// Files and directories, and how they become durable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace zl {

/// Owns a file descriptor.
class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) noexcept : fd_(fd) {}
    UniqueFd(UniqueFd&& o) noexcept : fd_(o.release()) {}
    UniqueFd& operator=(UniqueFd&& o) noexcept;
    UniqueFd(const UniqueFd&) = delete;
    ~UniqueFd() { reset(); }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept {
        int fd = fd_;
        fd_ = -1;
        return fd;
    }
    void reset() noexcept;
    /// Close and report what close says (a full NFS disk says it here). Throws io.
    void close_checked(std::string_view name);

private:
    int fd_ = -1;
};

/// open(2) with O_CLOEXEC; throws sys_error naming @p path.
UniqueFd open_file(const std::string& path, int flags, mode_t mode = 0600);

/// Read until @p buffer is full or the end: returns the bytes read. EINTR is retried.
std::size_t read_full(int fd, std::span<std::byte> buffer, std::string_view name);
std::size_t pread_full(int fd, std::span<std::byte> buffer, std::uint64_t offset,
                       std::string_view name);
/// Write all or throw io.
void write_full(int fd, std::span<const std::byte> data, std::string_view name);
void pwrite_full(int fd, std::span<const std::byte> data, std::uint64_t offset,
                 std::string_view name);

/// Whole file; nullopt if it does not exist. Throws io beyond @p max_bytes.
std::optional<std::string> read_file(const std::string& path, std::size_t max_bytes = 16 << 20);

/// fsync the directory so that names made or removed in it survive a power loss.
void fsync_dir(const std::string& path);
/// mkdir -p with @p mode for what is made; the new names are made durable. Existing is fine.
void make_dirs(const std::string& path, mode_t mode = 0777);
/// Directory part of @p path ("." if none).
std::string dir_name(const std::string& path);
/// Of a link: the link itself. Throws when it cannot be known (permission denied, I/O error):
/// unknown is not absent.
bool path_exists(const std::string& path);

/// Writes a file all or nothing: temp in the same directory, fsync, rename, fsync directory.
/// Without commit() the destructor removes the temp file; the old content stays.
class AtomicFile {
public:
    /// @p replace false: commit() throws exists if the name is there by then (no overwrite ever).
    explicit AtomicFile(std::string path, mode_t mode = 0666, bool replace = true);
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile();

    int fd() const { return fd_.get(); }
    void write(std::span<const std::byte> data);
    void write(std::string_view text);
    void commit();

private:
    std::string path_;
    std::string temp_;
    bool replace_;
    UniqueFd fd_;
};

/// Exclusive lock on a file that dies with the process (flock(2) on an own description).
class FileLock {
public:
    /// Creates @p path if needed. nullopt when another process (or thread) holds it.
    static std::optional<FileLock> try_lock(const std::string& path, mode_t mode = 0600);
    /// The file, to read and write: the one that had the name when the lock was taken.
    int fd() const { return fd_.get(); }
    /// Remove the file while still holding the lock, then release.
    void remove_and_unlock();

private:
    FileLock(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
    UniqueFd fd_;
    std::string path_;
};

/// Bytes of a string and back, without casts at every call.
inline std::span<const std::byte> as_bytes(std::string_view s) {
    return std::as_bytes(std::span<const char>(s.data(), s.size()));
}
inline std::string_view as_text(std::span<const std::byte> b) {
    return {reinterpret_cast<const char*>(b.data()), b.size()};
}

} // namespace zl
