#include "wal/ship_open.hpp"

#include "base/file.hpp"
#include "base/random.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace zl::ship_open {

namespace {

constexpr int kSchema = 1;
constexpr int kPageSize = 4096; ///< SQLite's default
constexpr const char* kDatabase = "state.db";
/// A state is made under this name (SQLite's sidecars get it in front) and renamed when it is
/// whole.
constexpr const char* kNewDatabase = "new-state.tmp";
constexpr std::string_view kSegmentSuffix = ".wal.zst";

constexpr const char* kCreate = R"sql(
CREATE TABLE self (writer TEXT NOT NULL);
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE position (
  one INTEGER PRIMARY KEY CHECK (one = 1), generation TEXT NOT NULL, sequence INTEGER NOT NULL,
  id TEXT NOT NULL, time INTEGER NOT NULL, page_size INTEGER NOT NULL,
  page_count INTEGER NOT NULL, checksum INTEGER NOT NULL, device INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  salt1 INTEGER, salt2 INTEGER, frame INTEGER, sum1 INTEGER, sum2 INTEGER);
CREATE TABLE queue (
  sequence INTEGER PRIMARY KEY, id TEXT NOT NULL, generation TEXT NOT NULL, kind TEXT NOT NULL,
  time INTEGER NOT NULL, size INTEGER NOT NULL, frames INTEGER NOT NULL,
  attempted INTEGER NOT NULL);
CREATE TABLE acknowledged (
  sequence INTEGER PRIMARY KEY, id TEXT NOT NULL, generation TEXT NOT NULL, kind TEXT NOT NULL,
  time INTEGER NOT NULL, size INTEGER NOT NULL, frames INTEGER NOT NULL,
  attempted INTEGER NOT NULL);
CREATE TABLE catalogue (
  key TEXT PRIMARY KEY, kind TEXT NOT NULL, generation TEXT NOT NULL, first INTEGER NOT NULL,
  last INTEGER NOT NULL, time INTEGER NOT NULL, size INTEGER NOT NULL, level INTEGER NOT NULL)
  WITHOUT ROWID;
CREATE INDEX catalogue_order ON catalogue (kind, last, key);
CREATE TABLE upload (upload_id TEXT PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE page_hash (block INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
CREATE TABLE page_hash_count (pages INTEGER NOT NULL);
INSERT INTO page_hash_count VALUES (0);
PRAGMA user_version = 1;
)sql";

/// Never half there: an empty or missing state.db beside segments is damage, not a new directory.
void create_database(const std::string& directory) {
    std::string fresh = directory + "/" + kNewDatabase, path = directory + "/" + kDatabase;
    {
        Db db(fresh);
        Txn txn(db);
        db.exec(kCreate);
        Stmt(db, "INSERT INTO self (writer) VALUES (?)").bind(1, random_hex(16)).run();
        txn.commit();
    }
    if (path_exists(fresh + "-wal")) // SQLite could not put everything into the database
        throw Error(ErrorKind::io, "create " + path + ": cannot write it whole (disk full?)");
    if (::rename(fresh.c_str(), path.c_str()) != 0)
        throw sys_error("rename " + fresh + " to " + path);
    fsync_dir(directory);
}

void check_schema(Db& db) {
    Stmt s(db, "PRAGMA user_version");
    s.step();
    if (s.column_int(0) > kSchema)
        throw Error(ErrorKind::data,
                    "written by a newer zl (schema " + std::to_string(s.column_int(0)) +
                        ", this one knows " + std::to_string(kSchema) + ")",
                    "use the newer zl, or another --cache-dir");
    if (s.column_int(0) < 1)
        throw Error(ErrorKind::data, std::string(kDatabase) + " is no state of a shipper");
}

/// Shorter than its own header says. A kill in a checkpoint leaves that, and the WAL has the rest;
/// or the file was cut, and SQLite would read the missing end of a page as zeros.
bool is_short(const std::string& path) {
    UniqueFd fd = open_file(path, O_RDONLY);
    std::array<std::byte, 32> header{};
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0)
        throw sys_error("stat " + path);
    pread_full(fd.get(), header, 0, path);
    std::int64_t pages = 0; // https://sqlite.org/fileformat2.html section 1.3.7
    for (std::size_t i = 28; i < 32; ++i)
        pages = pages << 8 | std::to_integer<std::int64_t>(header[i]);
    return st.st_size % kPageSize != 0 || st.st_size < pages * kPageSize;
}

void check_whole(Db& db) {
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    Stmt s(db, "PRAGMA integrity_check(1)");
    if (s.step() && s.column_text(0) != "ok")
        throw Error(ErrorKind::data, std::string(kDatabase) + ": " + s.column_text(0));
}

} // namespace

std::string segment_file_name(std::uint64_t sequence) {
    char name[48];
    std::snprintf(name, sizeof name, "%020llu%s", static_cast<unsigned long long>(sequence),
                  kSegmentSuffix.data());
    return name;
}

std::optional<std::uint64_t> parse_segment_file(const std::string& name) {
    if (name.size() != 20 + kSegmentSuffix.size() || !name.ends_with(kSegmentSuffix) ||
        name.find_first_not_of("0123456789") != 20)
        return std::nullopt;
    errno = 0;
    std::uint64_t sequence = std::strtoull(name.c_str(), nullptr, 10);
    return errno == 0 ? std::optional(sequence) : std::nullopt;
}

std::vector<std::string> names_in(const std::string& directory) {
    std::vector<std::string> names;
    std::error_code error;
    std::filesystem::directory_iterator at(directory, error), end;
    for (; !error && at != end; at.increment(error))
        names.push_back(at->path().filename().string());
    if (error)
        throw sys_error("read directory " + directory, error.value());
    return names;
}

void remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        throw sys_error("remove " + path);
}

Error& explain(Error& e, const std::string& directory) {
    if (e.kind() != ErrorKind::data)
        return e;
    e.add_context("cache directory " + directory);
    if (e.hint().empty())
        e.with_hint("the database and its replica are not affected; move " + directory +
                    " aside and start again: the newest state is shipped from the database, only "
                    "moments that were not sent yet are lost (add --take-over if the replica is "
                    "then said to belong to another writer)");
    return e;
}

Db open_database(const std::string& directory, ShipState::Access access) {
    std::string path = directory + "/" + kDatabase;
    try {
        if (access == ShipState::Access::look && !path_exists(path))
            throw Error(ErrorKind::not_found, path + ": no such file");
        if (access == ShipState::Access::ship) {
            make_dirs(directory, 0700);
            for (const std::string& name : names_in(directory)) {
                if (name.ends_with(".tmp") || name.starts_with(kNewDatabase))
                    remove_file(directory + "/" + name);
                else if (!path_exists(path) &&
                         (parse_segment_file(name) || name == std::string(kDatabase) + "-wal"))
                    throw Error(ErrorKind::data, name + " is there, but " + kDatabase + " is not");
            }
            if (!path_exists(path))
                create_database(directory);
        }
        bool suspicious = access == ShipState::Access::ship && is_short(path);
        Db db(path);
        if (suspicious)
            check_whole(db);
        // One large commit must not leave a WAL of its size behind for good.
        db.exec("PRAGMA journal_size_limit = 4194304");
        check_schema(db);
        return db;
    } catch (Error& e) {
        throw explain(e, directory);
    }
}

} // namespace zl::ship_open
