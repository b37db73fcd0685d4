// SQLite's WAL-reset bug (https://sqlite.org/wal.html, "walresetbug"; 3.7.0 to 3.51.2): a
// checkpointer reads the wal-index header, a writer restarts the fully back-filled WAL, and the
// checkpointer then records a back-fill position of the old WAL; a later checkpoint skips that many
// frames of the new one. A VFS shim lets a writer in exactly there, while our own checkpoint code
// runs: under the barrier nothing breaks; without it the database is corrupt, which proves that the
// window was reached.
#include "../temp_dir.hpp"
#include "wal/live_db.hpp"

#include <doctest/doctest.h>
#include <sqlite3.h>

#include <cstdlib>
#include <filesystem>
#include <string>

using namespace zl;

namespace {

sqlite3_vfs shim;
const sqlite3_io_methods* original = nullptr;
sqlite3_io_methods methods;
sqlite3* writer = nullptr;
bool armed = false;
int writer_result = -1;

/// sqlite3WalCheckpoint() calls this between its two reads of the wal-index, if the header changed.
int shim_unfetch(sqlite3_file* file, sqlite3_int64 offset, void* page) {
    if (armed && offset == 0 && !page) {
        armed = false;
        writer_result = ::sqlite3_exec(writer, "UPDATE t SET b=randomblob(600) WHERE a<5", nullptr,
                                       nullptr, nullptr);
    }
    return original->xUnfetch(file, offset, page);
}

int shim_open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
    auto* real = static_cast<sqlite3_vfs*>(vfs->pAppData);
    const int code = real->xOpen(real, name, file, flags, out);
    if (code == SQLITE_OK && (flags & SQLITE_OPEN_MAIN_DB)) {
        if (!original) {
            original = file->pMethods;
            methods = *original;
            methods.xUnfetch = shim_unfetch;
        }
        file->pMethods = &methods;
    }
    return code;
}

/// The default VFS for as long as it lives.
struct Shim {
    sqlite3_vfs* real = ::sqlite3_vfs_find(nullptr);
    Shim() {
        shim = *real;
        shim.pAppData = real;
        shim.zName = "walreset";
        shim.pNext = nullptr;
        shim.xOpen = shim_open;
        ::sqlite3_vfs_register(&shim, 1);
    }
    ~Shim() {
        ::sqlite3_vfs_unregister(&shim);
        ::sqlite3_vfs_register(real, 1);
    }
};

std::string run(sqlite3* db, const char* sql) {
    std::string all;
    auto take = [](void* to, int, char** columns, char**) {
        *static_cast<std::string*>(to) += columns[0] ? columns[0] : "";
        return 0;
    };
    ::sqlite3_exec(db, sql, take, &all, nullptr);
    return all;
}

/// integrity_check after a checkpoint of ours, with or without the barrier.
std::string checkpoint_with_writer(bool barrier) {
    const test::TempDir dir;
    const std::string path = dir / "t.db";
    REQUIRE(::sqlite3_open(path.c_str(), &writer) == SQLITE_OK);
    run(writer, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA busy_timeout=0;"
                "CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
                "WITH s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s WHERE i<20) "
                "INSERT INTO t SELECT NULL, randomblob(600) FROM s; CREATE INDEX i ON t(b)");
    std::string verdict;
    {
        Shim in_place;
        LiveDb db(path, {});
        auto checkpoint = [&] {
            const bool locked = barrier && db.lock_writers(20);
            CHECK(locked == barrier);
            db.end_read();
            db.checkpoint();
            if (barrier)
                db.begin_read();
            if (locked)
                db.unlock_writers();
        };
        checkpoint();
        // From another connection, so that our checkpointer's header is stale; then all of the WAL
        // is moved back, so that the next writer restarts it.
        run(writer, "UPDATE t SET b=randomblob(600)");
        db.end_read();
        run(writer, "PRAGMA wal_checkpoint");
        if (barrier)
            db.begin_read();
        writer_result = -1;
        armed = true;
        checkpoint();
        CHECK_FALSE(armed); // the window was reached
        armed = false;
        run(writer, "UPDATE t SET b=randomblob(600)"); // the WAL grows past the stale position ...
        checkpoint();                                  // ... and this one would skip its frames
    }
    ::sqlite3_close(writer);
    REQUIRE(::sqlite3_open(path.c_str(), &writer) == SQLITE_OK);
    verdict = run(writer, "PRAGMA integrity_check(1)");
    ::sqlite3_close(writer);
    return verdict;
}

} // namespace

TEST_SUITE("wal/walreset") {
    TEST_CASE("under the barrier a writer in the window changes nothing") {
        CHECK(checkpoint_with_writer(true) == "ok");
        CHECK(writer_result == SQLITE_BUSY);
    }

    TEST_CASE("without it the database is corrupt, so the test above shows something" *
              doctest::skip(!has_wal_reset_bug())) {
        CHECK(checkpoint_with_writer(false) != "ok");
        CHECK(writer_result == SQLITE_OK);
    }
}
