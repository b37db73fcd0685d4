#include "wal/live_db.hpp"

#include "base/error.hpp"

#include <sqlite3.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <cstring>

namespace zl {

namespace {

constexpr int kIndexRegion = 32768; // wal.c: WALINDEX_PGSZ
constexpr int kOpenBusyMs = 2000;

/// One copy of the header, as in wal.c's WalIndexHdr: 48 bytes, native byte order.
struct RawIndex {
    std::uint32_t word[12];
};

std::string resolve(const std::string& path) {
    std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), &::free);
    if (!real) {
        Error error = sys_error("database " + path);
        if (error.kind() == ErrorKind::not_found)
            error = Error(ErrorKind::not_found, "no database at " + path,
                          "--wait waits until it appears");
        throw error;
    }
    return real.get();
}

Error sqlite_error(const std::string& path, const std::string& what, int code, sqlite3* db) {
    const std::string text = path + ": " + what + ": " + (db ? ::sqlite3_errmsg(db) : "") + " (" +
                             ::sqlite3_errstr(code) + ")";
    switch (code & 0xff) {
    case SQLITE_NOTADB:
        return Error(ErrorKind::data, path + ": not a database, or an encrypted one",
                     "zl-walship reads plain SQLite databases only");
    case SQLITE_CORRUPT:
        return Error(ErrorKind::data, text, "see zl-recovery(7)");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return Error(ErrorKind::transient,
                     path + ": locked by another process (locking_mode=EXCLUSIVE?)",
                     "it is safe to try again when that process lets go");
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return Error(ErrorKind::denied, text, "run as the user who writes the database");
    case SQLITE_CANTOPEN:
        return Error(ErrorKind::denied, text,
                     "the -wal and -shm files beside it must be readable and writable too");
    default:
        return Error(ErrorKind::io, text);
    }
}

std::uint32_t big_endian_word(const std::uint32_t& word) {
    unsigned char b[4];
    std::memcpy(b, &word, 4);
    return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | b[3];
}

RawIndex copy_of(const volatile std::uint32_t* words) {
    RawIndex raw;
    for (int i = 0; i < 12; ++i)
        raw.word[i] = words[i];
    return raw;
}

bool whole(const RawIndex& raw) {
    WalChecksum sum;
    sum.update(std::as_bytes(std::span(raw.word, 10)), std::endian::native == std::endian::big);
    return sum.s1 == raw.word[10] && sum.s2 == raw.word[11];
}

} // namespace

void LiveDb::Close::operator()(sqlite3* db) const noexcept {
    ::sqlite3_close_v2(db);
}

LiveDb::LiveDb(const std::string& path, Options options) : path_(resolve(path)) {
    struct stat file {};
    if (::stat(path_.c_str(), &file) != 0)
        throw sys_error("database " + path_);
    if (!S_ISREG(file.st_mode))
        throw Error(ErrorKind::usage, path_ + ": not a regular file");
    db_fd_ = open_file(path_, O_RDONLY);
    reader_ = connect();
    if (::sqlite3_db_readonly(reader_.get(), "main") == 1)
        throw Error(ErrorKind::denied, path_ + ": not writable",
                    "the read lock that keeps the WAL needs a writable -shm file: run as the user "
                    "who writes the database");
    require_wal(options.enable_wal);
    barrier_ = connect();
    checkpointer_ = connect();
    // A connection that never read does not know yet that there is a WAL: its checkpoint does
    // nothing, reports -1 frames, and success.
    nudge();
    begin_read();
    wal_fd_ = open_file(path_ + "-wal", O_RDONLY);
    map_index();
    if (::fstat(db_fd_.get(), &file) != 0)
        throw sys_error("database " + path_);
    device_ = file.st_dev;
    inode_ = file.st_ino;
    if (struct stat shm{}; ::stat((path_ + "-shm").c_str(), &shm) == 0)
        shm_inode_ = shm.st_ino;
    if (place() != Place::same)
        throw Error(ErrorKind::transient, path_ + ": replaced while it was opened");
}

LiveDb::~LiveDb() {
    // No checkpoint: NO_CKPT_ON_CLOSE. The reader goes last, the descriptors after it.
    checkpointer_.reset();
    barrier_.reset();
    spare_.reset();
    reader_.reset();
}

LiveDb::Connection LiveDb::connect() {
    sqlite3* raw = nullptr;
    const int code = ::sqlite3_open_v2(path_.c_str(), &raw,
                                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    Connection db(raw);
    if (code != SQLITE_OK)
        throw sqlite_error(path_, "cannot open", code, raw);
    int persist = 1;
    if (::sqlite3_wal_autocheckpoint(raw, 0) != SQLITE_OK ||
        ::sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr) != SQLITE_OK ||
        ::sqlite3_file_control(raw, "main", SQLITE_FCNTL_PERSIST_WAL, &persist) != SQLITE_OK ||
        ::sqlite3_busy_timeout(raw, kOpenBusyMs) != SQLITE_OK)
        throw Error(ErrorKind::internal, "cannot configure the connection to " + path_);
    return db;
}

void LiveDb::exec(sqlite3* db, const char* sql) {
    const int code = ::sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK)
        throw sqlite_error(path_, sql, code, db);
}

void LiveDb::require_wal(bool enable) {
    auto mode = [this](const char* sql) {
        std::string value;
        auto take = [](void* to, int, char** columns, char**) {
            *static_cast<std::string*>(to) = columns[0] ? columns[0] : "";
            return 0;
        };
        const int code = ::sqlite3_exec(reader_.get(), sql, take, &value, nullptr);
        if (code != SQLITE_OK)
            throw sqlite_error(path_, sql, code, reader_.get());
        return value;
    };
    exec(reader_.get(), "SELECT count(*) FROM sqlite_master"); // no database: said here
    std::string now = mode("PRAGMA journal_mode");
    if (now != "wal" && enable)
        now = mode("PRAGMA journal_mode=WAL");
    if (now != "wal")
        throw Error(ErrorKind::usage, path_ + ": journal mode is " + now + ", wanted wal",
                    "run `sqlite3 " + path_ +
                        " 'PRAGMA journal_mode=WAL'` while the application is stopped, or say "
                        "--enable-wal; nothing was changed");
    page_size_ = static_cast<std::uint32_t>(std::stoul(mode("PRAGMA page_size")));
}

void LiveDb::map_index() {
    sqlite3_file* file = nullptr;
    void volatile* region = nullptr;
    if (::sqlite3_file_control(reader_.get(), "main", SQLITE_FCNTL_FILE_POINTER, &file) !=
            SQLITE_OK ||
        !file || !file->pMethods || file->pMethods->iVersion < 2 || !file->pMethods->xShmMap ||
        file->pMethods->xShmMap(file, 0, kIndexRegion, 0, &region) != SQLITE_OK || !region)
        throw Error(ErrorKind::transient, path_ + ": the wal-index cannot be read",
                    "an application with locking_mode=EXCLUSIVE keeps it to itself");
    index_ = static_cast<const volatile std::uint32_t*>(region);
}

LiveDb::Place LiveDb::place() const {
    // stat() by path drops no lock; only close() does.
    struct stat file {
    }, wal{}, shm{}, our_wal{};
    if (::stat(path_.c_str(), &file) != 0)
        return errno == ENOENT ? Place::absent : Place::other;
    if (file.st_dev != device_ || file.st_ino != inode_)
        return Place::other;
    if (!wal_fd_) // not open yet
        return Place::same;
    const bool ours = ::fstat(wal_fd_.get(), &our_wal) == 0 &&
                      ::stat((path_ + "-wal").c_str(), &wal) == 0 && wal.st_ino == our_wal.st_ino &&
                      wal.st_dev == our_wal.st_dev && ::stat((path_ + "-shm").c_str(), &shm) == 0 &&
                      shm.st_ino == shm_inode_;
    return ours ? Place::same : Place::other;
}

LiveDb::FileStamp LiveDb::file_stamp() const {
    struct stat file {};
    if (::fstat(db_fd_.get(), &file) != 0)
        throw sys_error(path_);
    return {file.st_mtim.tv_sec * 1'000'000'000 + file.st_mtim.tv_nsec, file.st_size};
}

void LiveDb::begin_read_on(sqlite3* db) {
    exec(db, "BEGIN");
    try {
        // Only a statement that reads takes the lock.
        exec(db, "SELECT 1 FROM sqlite_master LIMIT 1");
    } catch (...) {
        ::sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
        throw;
    }
}

void LiveDb::begin_read() {
    if (reading_)
        return;
    begin_read_on(reader_.get());
    reading_ = true;
}

void LiveDb::move_read() {
    if (!reading_)
        throw Error(ErrorKind::internal, path_ + ": there is no read lock to move");
    if (!spare_)
        spare_ = connect();
    begin_read_on(spare_.get());
    std::swap(reader_, spare_);
    exec(spare_.get(), "COMMIT");
}

void LiveDb::end_read() {
    if (!reading_)
        return;
    reading_ = false;
    exec(reader_.get(), "COMMIT");
}

std::optional<WalIndex> LiveDb::index() {
    // wal.c walIndexTryHdr: a writer stores the second copy first, so first copy, then second.
    const RawIndex first = copy_of(index_);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const RawIndex second = copy_of(index_ + 12);
    if (std::memcmp(&first, &second, sizeof first) != 0 || !whole(first))
        return std::nullopt;
    WalIndex index;
    unsigned char flags[4];
    std::memcpy(flags, &first.word[3], 4);
    if (!flags[0]) // isInit
        return std::nullopt;
    index.big_endian = flags[1] != 0;
    std::uint16_t size;
    std::memcpy(&size, flags + 2, 2);
    index.page_size = (size & 0xfe00U) | (size & 1U) << 16;
    index.max_frame = first.word[4];
    index.page_count = first.word[5];
    index.checksum = {first.word[6], first.word[7]};
    index.salt = {big_endian_word(first.word[8]), big_endian_word(first.word[9])};
    index.backfilled = index_[24];
    return index;
}

void LiveDb::nudge() {
    ::sqlite3_exec(checkpointer_.get(), "SELECT 1 FROM sqlite_master LIMIT 1", nullptr, nullptr,
                   nullptr);
}

bool LiveDb::lock_writers(int busy_ms) {
    if (!barrier_)
        barrier_ = connect();
    ::sqlite3_busy_timeout(barrier_.get(), busy_ms);
    const int code = ::sqlite3_exec(barrier_.get(), "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
    if (code == SQLITE_OK)
        return true;
    if ((code & 0xff) == SQLITE_BUSY)
        return false;
    throw sqlite_error(path_, "BEGIN IMMEDIATE", code, barrier_.get());
}

void LiveDb::unlock_writers() noexcept {
    // A lock that stays would stop the application: closing the connection releases it in any case.
    if (::sqlite3_exec(barrier_.get(), "ROLLBACK", nullptr, nullptr, nullptr) != SQLITE_OK)
        barrier_.reset();
}

void LiveDb::sync_file() {
    if (::fdatasync(db_fd_.get()) != 0)
        throw sys_error("sync " + path_);
}

std::optional<LiveDb::Checkpointed> LiveDb::checkpoint() {
    Checkpointed done;
    const int code = ::sqlite3_wal_checkpoint_v2(
        checkpointer_.get(), "main", SQLITE_CHECKPOINT_PASSIVE, &done.wal_frames, &done.backfilled);
    if (code == SQLITE_OK && done.wal_frames >= 0)
        return done;
    if (code == SQLITE_OK) // -1 frames: it has not looked at the WAL yet
        nudge();
    if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY)
        return std::nullopt;
    throw sqlite_error(path_, "checkpoint", code, checkpointer_.get());
}

std::uint64_t LiveDb::wal_size() const {
    struct stat file {};
    if (::fstat(wal_fd_.get(), &file) != 0)
        throw sys_error(path_ + "-wal");
    return static_cast<std::uint64_t>(file.st_size);
}

bool has_wal_reset_bug() {
    const int v = ::sqlite3_libversion_number();
    return v < 3051003 && !(v >= 3050007 && v < 3051000) && !(v >= 3044006 && v < 3045000);
}

} // namespace zl
