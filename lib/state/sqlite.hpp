/// SQLite behind three small classes; the only user of sqlite3.h in this layer.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;
struct sqlite3_file;

namespace zl {

/// A connection. One thread at a time.
class Db {
public:
    /// Opens or creates @p path (mode 0600) with journal_mode=WAL, synchronous=FULL,
    /// foreign_keys=ON and a busy timeout of 30 s. Throws io, or data when it is no database.
    explicit Db(const std::string& path);
    /// One or more statements without results.
    void exec(const char* sql);
    std::int64_t last_insert_rowid() const;
    std::int64_t changes() const;
    sqlite3* get() const { return db_.get(); }

private:
    struct Close {
        void operator()(sqlite3* db) const noexcept;
    };
    std::unique_ptr<sqlite3, Close> db_;
    std::string path_;
};

/// A prepared statement. bind() counts from 1, column() from 0.
class Stmt {
public:
    Stmt(Db& db, std::string_view sql);
    Stmt& bind(int index, std::int64_t value);
    Stmt& bind(int index, std::uint64_t value) {
        return bind(index, static_cast<std::int64_t>(value));
    }
    Stmt& bind(int index, int value) { return bind(index, static_cast<std::int64_t>(value)); }
    Stmt& bind(int index, std::string_view value);
    Stmt& bind(int index, const char* value) { return bind(index, std::string_view(value)); }
    Stmt& bind(int index, const std::string& value) { return bind(index, std::string_view(value)); }
    Stmt& bind_null(int index);
    /// True while there is a row.
    bool step();
    /// For statements without rows: step and reset.
    void run();
    void reset();

    std::int64_t column_int(int index) const;
    std::uint64_t column_uint(int index) const {
        return static_cast<std::uint64_t>(column_int(index));
    }
    std::string column_text(int index) const;
    bool column_is_null(int index) const;

private:
    void check(int code);
    struct Finalize {
        void operator()(sqlite3_stmt* s) const noexcept;
    };
    Db& db_;
    std::unique_ptr<sqlite3_stmt, Finalize> stmt_;
};

/// BEGIN IMMEDIATE; rolled back unless commit() was called.
class Txn {
public:
    explicit Txn(Db& db);
    Txn(const Txn&) = delete;
    Txn& operator=(const Txn&) = delete;
    ~Txn();
    void commit();

private:
    Db& db_;
    bool open_ = true;
};

/// What SQLite thinks of a database file.
struct DatabaseCheck {
    std::vector<std::string> problems; ///< empty: in order
    /// Why it could not be checked (a collation or module that is not here); empty: it was.
    std::string unable;
};
/// PRAGMA quick_check or integrity_check over @p path, which nobody else uses: opened immutable, so
/// that nothing is written, locked or created beside it, also if its journal mode is WAL.
DatabaseCheck check_database(const std::string& path, bool full, std::stop_token stop);

/// A database in rollback-journal mode under SQLite's EXCLUSIVE lock, read and written as bytes:
/// for replacing pages while others read it through SQLite. The caller keeps it crash-safe (a
/// journal as in fileformat2 section 3). Everything goes through the connection's own file, as
/// closing another descriptor of it would drop the locks.
class LockedDatabase {
public:
    /// Rolls back a hot journal first. nullptr: others are reading it, for longer than a second.
    /// Throws data, io, denied.
    static std::unique_ptr<LockedDatabase> try_lock(const std::string& path);
    LockedDatabase(const LockedDatabase&) = delete;
    LockedDatabase& operator=(const LockedDatabase&) = delete;
    ~LockedDatabase(); ///< unlocks

    std::uint64_t size();
    void read(std::uint64_t offset, std::span<std::byte> out); ///< all of it, or throws io
    void write(std::uint64_t offset, std::span<const std::byte> data);
    void truncate(std::uint64_t size);
    void sync();

private:
    LockedDatabase(sqlite3* db, sqlite3_file* file, std::string path)
        : db_(db), file_(file), path_(std::move(path)) {}
    void check(int code, const char* what);
    sqlite3* db_;
    sqlite3_file* file_;
    std::string path_;
};

} // namespace zl
