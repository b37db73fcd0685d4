#include "restore_helpers.hpp"
#include "wal/restore_site.hpp"

#include <sys/stat.h>
#include <sys/wait.h>

using namespace zl;
using namespace zl::restore_test;

TEST_SUITE("wal/restore/place") {

    TEST_CASE("an existing database is refused, or moved aside whole") {
        Replica source;
        fill(source, 3);
        const std::string file = source.dir / "here.db";
        auto restore = [&](bool force) {
            Restorer::Options o;
            o.force = force;
            auto r = source.restorer(o);
            r->restore_file({}, file);
            return r->done().moved_aside;
        };
        for (const char* end : {"", "-wal", "-shm", "-journal"}) {
            CAPTURE(end);
            write_full(open_file(file + end, O_WRONLY | O_CREAT).get(), as_bytes("old"), file);
            Failure f = failure_of([&] { restore(false); });
            CHECK(f.kind == ErrorKind::exists);
            CHECK(has(f.message, file + end));
            CHECK(has(f.hint, "--force"));
            CHECK(whole_file(file + end) == "old");
            std::filesystem::remove(file + end);
        }
        CHECK_FALSE(path_exists(source.dir / ".here.db.zl-restore"));
        {
            Sql db(file);
            db.run("PRAGMA journal_mode=WAL; CREATE TABLE old(x); INSERT INTO old VALUES(7)");
            // In use: it would go on writing into what is moved aside.
            pid_t child = ::fork();
            if (child == 0) { // another process, as POSIX locks are its own
                Failure f =
                    failure_of([&] { RestoreSite site(file, RestoreSite::Existing::force); });
                ::_exit(f.kind == ErrorKind::transient ? 0 : 1);
            }
            int status = 0;
            ::waitpid(child, &status, 0);
            CHECK(status == 0);
        }
        {
            Sql db(file);
            db.run("INSERT INTO old VALUES(8)");
        }
        write_full(open_file(file + "-wal", O_WRONLY | O_CREAT).get(), as_bytes(""), file);
        CHECK(::chmod(file.c_str(), 0640) == 0);
        source.log.text.clear();
        auto moved = restore(true);
        REQUIRE(moved.size() == 2);
        CHECK(moved[1] == moved[0] + "-wal");
        CHECK(has(moved[0], "here.db.before-restore-20"));
        CHECK(has(source.log.text, moved[0]));
        CHECK(whole_file(file) == source.bytes());
        struct stat st {};
        CHECK(::stat(file.c_str(), &st) == 0);
        CHECK((st.st_mode & 07777) == 0640);
        CHECK(Sql(moved[0]).run("SELECT sum(x) FROM old") == "15");
    }

    TEST_CASE("places where nothing can be written, and two at once") {
        Replica source;
        fill(source, 2);
        auto kind = [&](const std::string& file) {
            return failure_of([&] { source.restorer()->restore_file({}, file); }).kind;
        };
        CHECK(kind(source.dir / "no/such/dir.db") == ErrorKind::exists);
        CHECK(kind(source.dir / "store") == ErrorKind::exists);
        CHECK(kind(source.dir / "app.db/x") == ErrorKind::exists);
        CHECK(kind("") == ErrorKind::usage);
        {
            RestoreSite site(source.dir / "x.db", RestoreSite::Existing::refuse);
            CHECK(kind(source.dir / "x.db") == ErrorKind::transient);
            CHECK(kind(source.dir / "y.db") == ErrorKind::usage); // "no failure"
        }
        CHECK(kind(source.dir / "x.db") == ErrorKind::usage);
        // What a killed run left.
        std::filesystem::create_directory(source.dir / ".z.db.zl-restore");
        for (const char* name : {"lock", "db", "segments"})
            write_full(open_file(source.dir / (std::string(".z.db.zl-restore/") + name),
                                 O_WRONLY | O_CREAT)
                           .get(),
                       as_bytes("rubbish"), name);
        CHECK(kind(source.dir / "z.db") == ErrorKind::usage);
        CHECK(whole_file(source.dir / "z.db") == source.bytes());
        CHECK_FALSE(path_exists(source.dir / ".z.db.zl-restore"));
        // The name is taken while we work.
        Wrapped store(*source.store);
        store.before = [&](const std::string& verb, const std::string&) {
            if (verb == "GET")
                open_file(source.dir / "race.db", O_WRONLY | O_CREAT);
        };
        Failure f =
            failure_of([&] { source.restorer(store)->restore_file({}, source.dir / "race.db"); });
        CHECK(f.kind == ErrorKind::exists);
        CHECK(whole_file(source.dir / "race.db") == "");
        CHECK_FALSE(path_exists(source.dir / ".race.db.zl-restore"));
    }

    TEST_CASE("a source that was damaged: said, and not installed unless asked") {
        Replica source;
        source.sql(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); INSERT INTO t(v) VALUES(1),(2)");
        std::string bytes = source.bytes();
        std::memset(bytes.data() + 4096, 0x55, 100); // t's root page
        write_full(open_file(source.dir / "app.db", O_WRONLY | O_TRUNC).get(), as_bytes(bytes),
                   "db");
        source.claim();
        source.snapshot();
        Failure f = failure_of([&] { restored(source); });
        CHECK(f.kind == ErrorKind::data);
        CHECK(has(f.message, "quick_check"));
        CHECK(has(f.hint, "--check none"));
        Restorer::Options o;
        o.check = Restorer::Options::Check::none;
        source.restorer(o)->restore_file({}, source.dir / "bad.db");
        CHECK(whole_file(source.dir / "bad.db") == bytes);
    }

    TEST_CASE("--auto: what is there, what the store says, and what happens") {
        enum class Database { absent, blank, blank_with_wal, there };
        enum class Backup { good, none, denied, down, corrupt, claim_only };
        for (Database database :
             {Database::absent, Database::blank, Database::blank_with_wal, Database::there})
            for (Backup backup : {Backup::good, Backup::none, Backup::denied, Backup::down,
                                  Backup::corrupt, Backup::claim_only}) {
                CAPTURE(static_cast<int>(database));
                CAPTURE(static_cast<int>(backup));
                Replica source;
                if (backup == Backup::claim_only) {
                    source.sql("CREATE TABLE t(x)");
                    source.claim();
                } else if (backup != Backup::none) {
                    fill(source, 3);
                }
                if (backup == Backup::corrupt)
                    source.store->put(source.keys.segment(3), MemoryBody("rubbish"));
                Wrapped store(*source.store);
                store.before = [&](const std::string&, const std::string&) {
                    if (backup == Backup::denied)
                        throw Error(ErrorKind::denied, "403");
                    if (backup == Backup::down)
                        throw Error(ErrorKind::transient, "no route");
                };
                const std::string file = source.dir / "app/data.db";
                std::filesystem::create_directory(source.dir / "app");
                auto write = [&](const char* end, std::string_view text) {
                    write_full(open_file(file + end, O_WRONLY | O_CREAT).get(), as_bytes(text),
                               file);
                };
                if (database == Database::blank || database == Database::blank_with_wal)
                    write("", "");
                if (database == Database::there)
                    write("", "precious");
                if (database == Database::absent || database == Database::there ||
                    database == Database::blank_with_wal)
                    write("-wal", "stale");
                const auto before =
                    std::filesystem::file_size(file + (database == Database::absent ? "-wal" : ""));
                std::optional<AutoRestore> result;
                Failure f = failure_of([&] {
                    auto restorer = source.restorer(store);
                    result = auto_restore(*restorer, file, source.log);
                });
                if (database == Database::there || database == Database::blank_with_wal) {
                    CHECK(result == AutoRestore::kept);
                    CHECK(store.requests == 0);
                    CHECK(std::filesystem::file_size(file) == before);
                    CHECK(whole_file(file + "-wal") == "stale");
                } else if (backup == Backup::good) {
                    CHECK(result == AutoRestore::restored);
                    CHECK(whole_file(file) == source.bytes());
                    CHECK_FALSE(path_exists(file + "-wal"));
                    if (database == Database::absent)
                        CHECK(has(source.log.text, "-wal"));
                } else if (backup == Backup::none) {
                    CHECK(result == AutoRestore::nothing);
                    CHECK(path_exists(file) == (database == Database::blank));
                    CHECK_FALSE(path_exists(file + "-wal"));
                } else {
                    CHECK_FALSE(result);
                    CHECK(f.kind == (backup == Backup::denied ? ErrorKind::denied
                                     : backup == Backup::down ? ErrorKind::transient
                                                              : ErrorKind::data));
                    // An application must not find a database there.
                    CHECK(whole_file(file) == "");
                    if (backup != Backup::corrupt && database == Database::absent)
                        CHECK(whole_file(file + "-wal") == "stale");
                }
            }
    }

    TEST_CASE("--auto: a backup that goes away between two looks is no answer") {
        Replica source;
        fill(source, 3);
        Wrapped store(*source.store);
        store.before = [&](const std::string& verb, const std::string& key) {
            if (verb == "LIST" && key == source.keys.snapshots())
                std::filesystem::remove_all(source.dir / "store/db");
        };
        Failure f = failure_of([&] {
            auto restorer = source.restorer(store);
            auto_restore(*restorer, source.dir / "new.db", source.log);
        });
        CHECK(f.kind == ErrorKind::data);
    }

    TEST_CASE("to a stream: the same bytes, and nothing before they are proved") {
        Replica source;
        fill(source, 5);
        MemorySink out;
        source.restorer()->restore_stream({}, source.dir.path(), out);
        CHECK(out.text == source.bytes());
        CHECK(source.dir.names() == std::vector<std::string>{"app.db", "segment", "store"});
    }

} // TEST_SUITE
