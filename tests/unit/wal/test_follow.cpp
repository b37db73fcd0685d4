#include "restore_fixture.hpp"
#include "wal/follower.hpp"
#include "wal/rollback_journal.hpp"

#include <random>
#include <thread>

using namespace zl;
using namespace zl::restore_test;

namespace {

/// The state of page data that a follower should have: the source's, but for the header's fields.
std::string without_fields(std::string bytes) {
    for (std::size_t at : {18U, 19U, 24U, 25U, 26U, 27U, 28U, 29U, 30U, 31U, 92U, 93U, 94U, 95U})
        bytes[at] = 0;
    return bytes;
}

/// To select @p n rows from.
std::string rows(int n) {
    return "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " +
           std::to_string(n) + ") SELECT i FROM n)";
}

struct Following {
    explicit Following(Replica& source)
        : run(*source.store, source.keys, {}, source.log, source.progress, {}),
          file(source.dir / "copy.db") {}
    void open() { follower.emplace(run, file); }
    void catch_up() {
        if (!follower)
            open();
        while (follower->step())
            ;
    }
    std::string bytes() const { return without_fields(whole_file(file)); }
    RestoreRun run;
    std::string file;
    std::optional<Follower> follower;
};

std::string integrity(const std::string& file) {
    return Sql(file, SQLITE_OPEN_READONLY).run("PRAGMA integrity_check");
}

ErrorKind kind_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& e) {
        return e.kind();
    }
    return ErrorKind::usage; // "no error"
}

} // namespace

TEST_SUITE("wal/follow") {

    TEST_CASE("the copy goes from state to state, through growth, shrinking and reopening") {
        for (std::uint32_t page_size : {512U, 4096U, 65536U}) {
            CAPTURE(page_size);
            Replica source(page_size);
            source.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
            source.claim();
            source.snapshot();
            Following f(source);
            std::mt19937 random(page_size);
            for (int i = 0; i < 40; ++i) {
                const auto r = random() % 10;
                if (r == 7)
                    source.ship("DELETE FROM t WHERE id % 3 = 1");
                else if (r == 8)
                    source.ship("VACUUM");
                else
                    source.ship("INSERT INTO t(v) SELECT randomblob(3000) FROM t LIMIT 40; "
                                "INSERT INTO t(v) VALUES(randomblob(3000))");
                if (r == 3 || r == 4)
                    continue; // two at once
                if (r == 5)
                    f.follower.reset(); // another run
                f.catch_up();
                CHECK(f.follower->sequence() == source.sequence);
                CHECK(f.bytes() == without_fields(source.bytes()));
                CHECK(integrity(f.file) == "ok");
                CHECK_FALSE(path_exists(f.file + "-journal"));
                CHECK_FALSE(path_exists(f.file + "-wal"));
            }
            f.catch_up();
            CHECK(f.bytes() == without_fields(source.bytes()));
            CHECK_FALSE(f.follower->step());
        }
    }

    TEST_CASE("a state of pages that nobody sent: as much as fits, and it can be stopped") {
        Replica source(512);
        source.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
        source.claim();
        source.snapshot();
        Following f(source);
        f.catch_up();
        f.follower.reset();
        const std::string before = whole_file(f.file);
        std::stop_source stop;
        auto copy = FollowCopy::open(f.file, stop.get_token());
        REQUIRE(copy);
        const auto no_pages = [](const PageVisitor&) {};
        SegmentLink to = copy->link();
        to.page_count = 0xFFFFFFFE; // 2 TiB
        CHECK_THROWS_WITH_AS(copy->apply(to, no_pages), doctest::Contains("no space left"), Error);
        to.page_count = 2000000;
        stop.request_stop();
        CHECK_THROWS_AS(copy->apply(to, no_pages), Interrupted);
        CHECK(whole_file(f.file) == before);
    }

    TEST_CASE("readers see one state or the next, never anything between") {
        Replica source;
        source.sql("CREATE TABLE a(x); CREATE TABLE b(x); CREATE TABLE pad(v BLOB);"
                   "INSERT INTO a VALUES(0); INSERT INTO b VALUES(0)");
        source.claim();
        source.snapshot();
        Following f(source);
        f.catch_up();
        std::atomic<bool> done = false;
        std::atomic<int> reads = 0, wrong = 0, last = 0;
        std::vector<std::jthread> readers;
        for (int i = 0; i < 3; ++i)
            readers.emplace_back([&] {
                Sql db("file:" + f.file + "?mode=ro", SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
                int seen = 0;
                while (!done) {
                    const std::string both = db.run("SELECT a.x || ' ' || b.x || ' ' || "
                                                    "(SELECT count(*) FROM pad) FROM a, b");
                    const int now = std::stoi(both);
                    if (both != std::to_string(now) + " " + std::to_string(now) + " " +
                                    std::to_string(now * 5) ||
                        now < seen)
                        ++wrong;
                    seen = now;
                    last = std::max(last.load(), now);
                    if (++reads % 50 == 0 && db.run("PRAGMA integrity_check") != "ok")
                        ++wrong;
                }
            });
        for (int i = 1; i <= 60; ++i) {
            source.ship("UPDATE a SET x = x + 1; UPDATE b SET x = x + 1; INSERT INTO pad "
                        "SELECT randomblob(2000) FROM " +
                        rows(5));
            f.catch_up();
        }
        done = true;
        readers.clear();
        CHECK(wrong == 0);
        CHECK(reads > 60);
        CHECK(last > 30);
    }

    TEST_CASE("a generation, a hole with a snapshot behind it, merged segments") {
        Replica source;
        source.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
        source.claim();
        source.snapshot();
        Following f(source);
        for (int i = 0; i < 5; ++i)
            source.ship("INSERT INTO t(v) SELECT randomblob(2000) FROM " + rows(9));
        f.catch_up();
        const std::string before = f.bytes();

        SUBCASE("an older copy took its place") {
            write_full(open_file(source.dir / "app.db", O_WRONLY | O_TRUNC).get(),
                       as_bytes(source.states[3]), "app.db");
            source.claim(3);
            CHECK_FALSE(f.follower->step()); // no snapshot yet
            CHECK(f.bytes() == before);
            source.snapshot();
            source.ship("INSERT INTO t(v) VALUES('other')");
            f.catch_up();
            CHECK(f.bytes() == without_fields(source.bytes()));
            CHECK(integrity(f.file) == "ok");
        }
        SUBCASE("a hole") {
            source.ship("INSERT INTO t(v) VALUES(1)");
            source.ship("INSERT INTO t(v) VALUES(2)");
            source.store->remove(source.keys.segment(7));
            CHECK(kind_of([&] { f.follower->step(); }) == ErrorKind::data);
            CHECK(f.bytes() == before);
            source.snapshot();
            f.catch_up();
            CHECK(f.bytes() == without_fields(source.bytes()));
        }
        SUBCASE("a damaged segment, with a snapshot behind it") {
            source.ship("INSERT INTO t(v) VALUES(1)");
            source.store->put(source.keys.segment(7), MemoryBody("rubbish"));
            CHECK(kind_of([&] { f.follower->step(); }) == ErrorKind::data);
            CHECK(f.bytes() == before);
            source.snapshot();
            f.catch_up();
            CHECK(f.bytes() == without_fields(source.bytes()));
        }
        SUBCASE("merged while we slept") {
            for (int i = 0; i < 4; ++i)
                source.ship("INSERT INTO t(v) VALUES(1)");
            source.merge(7, 9);
            source.forget(7, 9);
            f.catch_up();
            CHECK(f.bytes() == without_fields(source.bytes()));
            // And merged across where we stand.
            source.ship("INSERT INTO t(v) VALUES(2)");
            source.merge(10, 11);
            source.forget(10, 11);
            source.snapshot();
            source.write_metadata();
            f.catch_up();
            CHECK(f.bytes() == without_fields(source.bytes()));
        }
        SUBCASE("a segment whose sum is a lie changes nothing") {
            source.ship("INSERT INTO t(v) VALUES(1)");
            SegmentHeader h = source.headers[7];
            ++h.checksum_after;
            const std::string good = whole_file(source.dir / ("store/" + source.keys.segment(7)));
            source.store->put(source.keys.segment(7), MemoryBody(encode_segment_header(h) +
                                                                 good.substr(kSegmentHeaderSize)));
            CHECK(kind_of([&] { f.follower->step(); }) == ErrorKind::data);
            CHECK(f.bytes() == before);
            CHECK_FALSE(path_exists(f.file + "-journal"));
            source.store->put(source.keys.segment(7), MemoryBody(good));
            f.catch_up();
            CHECK(f.bytes() == without_fields(source.bytes()));
        }
    }

    TEST_CASE("a copy that is not ours is left alone") {
        Replica source;
        source.sql("CREATE TABLE t(v); INSERT INTO t VALUES(1)");
        source.claim();
        source.snapshot();
        Following f(source);
        auto refused = [&] {
            f.follower.reset();
            return kind_of([&] { f.catch_up(); }) == ErrorKind::exists;
        };
        write_full(open_file(f.file, O_WRONLY | O_CREAT).get(), as_bytes("other"), f.file);
        CHECK(refused());
        std::filesystem::remove(f.file);
        f.follower.reset();
        f.catch_up();
        // Somebody writes into it.
        Sql(f.file).run("INSERT INTO t VALUES(2)");
        source.ship("INSERT INTO t VALUES(3)");
        CHECK(kind_of([&] { f.follower->step(); }) == ErrorKind::exists);
        CHECK(refused());
        CHECK(Sql(f.file).run("SELECT sum(v) FROM t") == "3");
        {
            Follower other(f.run, source.dir / "second.db");
            CHECK(kind_of([&] { Follower again(f.run, source.dir / "second.db"); }) ==
                  ErrorKind::transient);
        }
    }

    TEST_CASE("SQLite rolls our journal back") {
        Directory dir;
        const std::string file = dir / "a.db";
        Sql(file).run("PRAGMA page_size=1024; CREATE TABLE t(v BLOB); "
                      "INSERT INTO t SELECT randomblob(500) FROM " +
                      rows(3000));
        const std::string before = whole_file(file);
        const auto pages = static_cast<std::uint32_t>(before.size() / 1024);
        const std::string rubbish(1024, 'r');
        for (bool committed : {false, true}) {
            // As if killed in the middle: changed, shorter or longer, journal there.
            for (int size : {-20, 0, 7}) {
                auto journal = std::make_unique<RollbackJournal>(file + "-journal", 1024, pages);
                for (std::uint32_t p = 1; p <= pages; ++p)
                    journal->record(p, committed ? as_bytes(before).subspan((p - 1) * 1024, 1024)
                                                 : as_bytes(rubbish));
                if (committed) {
                    journal->commit_records();
                    UniqueFd fd = open_file(file, O_RDWR);
                    pwrite_full(fd.get(), as_bytes(std::string(5000, 'x')), 0, file);
                    CHECK(::ftruncate(fd.get(), static_cast<off_t>(before.size()) + size * 1024) ==
                          0);
                } else {
                    // Not valid yet: nothing may be taken from it, whatever is in it.
                    std::filesystem::copy(file + "-journal", file + "-kept");
                    journal.reset();
                    std::filesystem::rename(file + "-kept", file + "-journal");
                }
                journal.reset();
                CHECK(path_exists(file + "-journal"));
                CHECK(Sql(file).run("PRAGMA integrity_check") == "ok");
                CHECK(whole_file(file) == before);
                CHECK_FALSE(path_exists(file + "-journal"));
            }
        }
    }

} // TEST_SUITE
