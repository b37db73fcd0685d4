#include "state/sqlite.hpp"

#include "base/file.hpp"

#include <sqlite3.h>

#include <fcntl.h>

#include <chrono>
#include <thread>

namespace zl {

namespace {

Error sqlite_error(sqlite3* db, int code, const std::string& what) {
    ErrorKind kind = ErrorKind::io;
    if ((code & 0xFF) == SQLITE_CORRUPT || (code & 0xFF) == SQLITE_NOTADB)
        kind = ErrorKind::data;
    else if ((code & 0xFF) == SQLITE_BUSY || (code & 0xFF) == SQLITE_LOCKED)
        kind = ErrorKind::transient;
    else if ((code & 0xFF) == SQLITE_READONLY || (code & 0xFF) == SQLITE_PERM)
        kind = ErrorKind::denied;
    std::string reason = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
    return Error(kind, what + ": " + reason);
}

constexpr std::chrono::milliseconds kBusyTime{30000};

/// The busy timeout does not hold for this: of several that make the same database at once, all but
/// one may be told that it is locked. https://www.sqlite.org/c3ref/busy_handler.html (deadlocks).
int switch_to_wal(sqlite3* db) {
    const auto end = std::chrono::steady_clock::now() + kBusyTime;
    for (;;) {
        const int code = sqlite3_exec(db, "PRAGMA journal_mode=WAL", nullptr, nullptr, nullptr);
        if ((code & 0xFF) != SQLITE_BUSY || std::chrono::steady_clock::now() > end)
            return code;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

} // namespace

void Db::Close::operator()(sqlite3* db) const noexcept {
    sqlite3_close_v2(db);
}

Db::Db(const std::string& path) : path_(path) {
    sqlite3* raw = nullptr;
    // SQLite would create it with 0644 & ~umask; the state names what is backed up: keep it private
    // (its -wal and -shm take the mode of the database).
    open_file(path, O_RDWR | O_CREAT, 0600);
    int code =
        sqlite3_open_v2(path.c_str(), &raw,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    db_.reset(raw);
    if (code == SQLITE_OK) {
        sqlite3_extended_result_codes(raw, 1);
        sqlite3_busy_timeout(raw, static_cast<int>(kBusyTime.count()));
        code = switch_to_wal(raw);
    }
    if (code == SQLITE_OK)
        code = sqlite3_exec(raw, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;", nullptr,
                            nullptr, nullptr);
    if (code != SQLITE_OK)
        throw sqlite_error(raw, code, "state database " + path);
}

void Db::exec(const char* sql) {
    int code = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK)
        throw sqlite_error(db_.get(), code, "state database " + path_);
}

std::int64_t Db::last_insert_rowid() const {
    return sqlite3_last_insert_rowid(db_.get());
}
std::int64_t Db::changes() const {
    return sqlite3_changes64(db_.get());
}

void Stmt::Finalize::operator()(sqlite3_stmt* s) const noexcept {
    sqlite3_finalize(s);
}

void Stmt::check(int code) {
    if (code != SQLITE_OK)
        throw sqlite_error(db_.get(), code, "state database");
}

Stmt::Stmt(Db& db, std::string_view sql) : db_(db) {
    sqlite3_stmt* raw = nullptr;
    int code =
        sqlite3_prepare_v2(db.get(), sql.data(), static_cast<int>(sql.size()), &raw, nullptr);
    stmt_.reset(raw);
    check(code);
}

Stmt& Stmt::bind(int index, std::int64_t value) {
    check(sqlite3_bind_int64(stmt_.get(), index, value));
    return *this;
}

Stmt& Stmt::bind(int index, std::string_view value) {
    check(sqlite3_bind_text64(stmt_.get(), index, value.data(), value.size(), SQLITE_TRANSIENT,
                              SQLITE_UTF8));
    return *this;
}

Stmt& Stmt::bind_null(int index) {
    check(sqlite3_bind_null(stmt_.get(), index));
    return *this;
}

bool Stmt::step() {
    int code = sqlite3_step(stmt_.get());
    if (code == SQLITE_ROW)
        return true;
    if (code != SQLITE_DONE)
        throw sqlite_error(db_.get(), code, "state database");
    return false;
}

void Stmt::run() {
    step();
    reset();
}

void Stmt::reset() {
    sqlite3_reset(stmt_.get());
}

std::int64_t Stmt::column_int(int i) const {
    return sqlite3_column_int64(stmt_.get(), i);
}

std::string Stmt::column_text(int i) const {
    const unsigned char* text = sqlite3_column_text(stmt_.get(), i);
    auto n = static_cast<std::size_t>(sqlite3_column_bytes(stmt_.get(), i));
    return text ? std::string(text, text + n) : std::string();
}

bool Stmt::column_is_null(int i) const {
    return sqlite3_column_type(stmt_.get(), i) == SQLITE_NULL;
}

Txn::Txn(Db& db) : db_(db) {
    db_.exec("BEGIN IMMEDIATE");
}

Txn::~Txn() {
    if (open_)
        sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Txn::commit() {
    db_.exec("COMMIT");
    open_ = false;
}

DatabaseCheck check_database(const std::string& path, bool full, std::stop_token stop) {
    std::string uri = "file:";
    for (char c : path)
        if (c == '%' || c == '?' || c == '#')
            uri += c == '%' ? "%25" : c == '?' ? "%3f" : "%23";
        else
            uri += c;
    sqlite3* raw = nullptr;
    int code =
        sqlite3_open_v2((uri + "?immutable=1").c_str(), &raw,
                        SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, nullptr);
    std::unique_ptr<sqlite3, decltype(&sqlite3_close_v2)> db(raw, sqlite3_close_v2);
    DatabaseCheck result;
    auto add = [](void* rows, int columns, char** values, char**) noexcept {
        if (columns > 0 && values[0] && std::string_view(values[0]) != "ok")
            static_cast<DatabaseCheck*>(rows)->problems.emplace_back(values[0]);
        return 0;
    };
    auto stopped = [](void* token) noexcept {
        return static_cast<std::stop_token*>(token)->stop_requested() ? 1 : 0;
    };
    if (code == SQLITE_OK) {
        sqlite3_extended_result_codes(raw, 1);
        sqlite3_progress_handler(raw, 10000, stopped, &stop);
        // Mapped: every page is read once, and none copied. (The file is ours alone and has no name
        // yet; a disk that fails just then ends us by SIGBUS instead of an error, and that is all.)
        // The others: https://sqlite.org/security.html, of databases from elsewhere.
        sqlite3_exec(raw,
                     "PRAGMA mmap_size = 1099511627776; PRAGMA cell_size_check = ON; "
                     "PRAGMA trusted_schema = OFF",
                     nullptr, nullptr, nullptr);
        code = sqlite3_exec(raw, full ? "PRAGMA integrity_check" : "PRAGMA quick_check", add,
                            &result, nullptr);
    }
    if ((code & 0xFF) == SQLITE_INTERRUPT)
        throw Interrupted();
    if ((code & 0xFF) == SQLITE_ERROR) // no such collation, function or module
        result.unable = sqlite3_errmsg(raw);
    else if ((code & 0xFF) == SQLITE_CORRUPT || (code & 0xFF) == SQLITE_NOTADB)
        result.problems.emplace_back(sqlite3_errmsg(raw));
    else if (code != SQLITE_OK)
        throw sqlite_error(raw, code, path);
    return result;
}

std::unique_ptr<LockedDatabase> LockedDatabase::try_lock(const std::string& path) {
    sqlite3* raw = nullptr;
    int code =
        sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    std::unique_ptr<sqlite3, decltype(&sqlite3_close_v2)> db(raw, sqlite3_close_v2);
    sqlite3_file* file = nullptr;
    if (code == SQLITE_OK) {
        sqlite3_extended_result_codes(raw, 1);
        sqlite3_busy_timeout(raw, 1000);
        code = sqlite3_exec(raw, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr);
    }
    if ((code & 0xFF) == SQLITE_BUSY)
        return nullptr;
    if (code == SQLITE_OK)
        code = sqlite3_file_control(raw, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (code != SQLITE_OK)
        throw sqlite_error(raw, code, path);
    return std::unique_ptr<LockedDatabase>(new LockedDatabase(db.release(), file, path));
}

LockedDatabase::~LockedDatabase() {
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    sqlite3_close_v2(db_);
}

void LockedDatabase::check(int code, const char* what) {
    if (code != SQLITE_OK)
        throw Error((code & 0xFF) == SQLITE_FULL || (code & 0xFF) == SQLITE_IOERR
                        ? ErrorKind::io
                        : sqlite_error(nullptr, code, path_).kind(),
                    std::string(what) + " " + path_ + ": " + sqlite3_errstr(code));
}

std::uint64_t LockedDatabase::size() {
    sqlite3_int64 size = 0;
    check(file_->pMethods->xFileSize(file_, &size), "size of");
    return static_cast<std::uint64_t>(size);
}

void LockedDatabase::read(std::uint64_t offset, std::span<std::byte> out) {
    check(file_->pMethods->xRead(file_, out.data(), static_cast<int>(out.size()),
                                 static_cast<sqlite3_int64>(offset)),
          "read");
}

void LockedDatabase::write(std::uint64_t offset, std::span<const std::byte> data) {
    check(file_->pMethods->xWrite(file_, data.data(), static_cast<int>(data.size()),
                                  static_cast<sqlite3_int64>(offset)),
          "write");
}

void LockedDatabase::truncate(std::uint64_t size) {
    check(file_->pMethods->xTruncate(file_, static_cast<sqlite3_int64>(size)), "truncate");
}

void LockedDatabase::sync() {
    check(file_->pMethods->xSync(file_, SQLITE_SYNC_FULL), "sync");
}

} // namespace zl
