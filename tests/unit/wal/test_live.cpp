// The part of the shipper that touches a live database, against real SQLite connections.
#include "../temp_dir.hpp"
#include "base/error.hpp"
#include "wal/capture.hpp"
#include "wal/lineage.hpp"
#include "wal/segment.hpp"

#include <doctest/doctest.h>
#include <sqlite3.h>

#include <fcntl.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <random>

using namespace zl;
namespace fs = std::filesystem;

namespace {

using Dir = test::TempDir;

/// The application.
struct App {
    sqlite3* db = nullptr;
    explicit App(const std::string& path, int page_size = 4096) {
        REQUIRE(::sqlite3_open(path.c_str(), &db) == SQLITE_OK);
        ::sqlite3_busy_timeout(db, 5000);
        exec("PRAGMA page_size=" + std::to_string(page_size));
        exec("PRAGMA journal_mode=WAL");
        exec("PRAGMA synchronous=OFF");
    }
    ~App() { ::sqlite3_close(db); }
    App(const App&) = delete;
    int try_exec(const std::string& sql) {
        return ::sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
    }
    void exec(const std::string& sql) {
        INFO(sql << ": " << ::sqlite3_errmsg(db));
        REQUIRE(try_exec(sql) == SQLITE_OK);
    }
    std::string text(const std::string& sql) {
        std::string all;
        auto take = [](void* to, int n, char** columns, char**) {
            for (int i = 0; i < n; ++i)
                *static_cast<std::string*>(to) += std::string(columns[i] ? columns[i] : "") + "|";
            return 0;
        };
        ::sqlite3_exec(db, sql.c_str(), take, &all, nullptr);
        return all;
    }
};

/// What a replica would hold: pages as the queued segments leave them.
struct Shadow {
    std::uint32_t page_size = 0, page_count = 0;
    std::map<std::uint32_t, std::string> pages;
    DbChecksum checksum = 0;

    void start(PageSource& from) {
        page_size = from.page_size();
        page_count = from.page_count();
        pages.clear();
        checksum = 0;
        std::vector<std::byte> page(page_size);
        for (std::uint32_t p = 1; p <= page_count; ++p) {
            from.read(p, page);
            put(p, page);
        }
    }
    void put(std::uint32_t p, Bytes data) {
        if (auto it = pages.find(p); it != pages.end())
            checksum -= page_hash(p, as_bytes(it->second));
        pages[p] = std::string(as_text(data));
        checksum += page_hash(p, data);
    }
    void apply(const std::string& file) {
        UniqueFd fd = open_file(file, O_RDONLY);
        const SegmentHeader header = verify_segment_file(fd.get(), file);
        CHECK(header.checksum_before == checksum);
        ::lseek(fd.get(), kSegmentHeaderSize, SEEK_SET);
        FdSource body(fd.get(), file);
        while (!pages.empty() && pages.rbegin()->first > header.page_count) {
            checksum -= page_hash(pages.rbegin()->first, as_bytes(pages.rbegin()->second));
            pages.erase(std::prev(pages.end()));
        }
        page_count = header.page_count;
        read_segment(header, body, file, [&](std::uint32_t p, Bytes data) { put(p, data); });
        CHECK(header.checksum_after == checksum);
    }
    void write(const std::string& file) const {
        UniqueFd fd = open_file(file, O_RDWR | O_CREAT | O_TRUNC);
        for (std::uint32_t p = 1; p <= page_count; ++p)
            if (auto it = pages.find(p); it != pages.end())
                pwrite_full(fd.get(), as_bytes(it->second), std::uint64_t{p - 1} * page_size, file);
    }
};

/// A shipper without a store: the queue goes into the shadow.
struct Rig {
    Dir dir;
    std::string path = dir / "app.db";
    NullLog log;
    ReplicaClock clock;
    std::unique_ptr<ShipState> state;
    std::unique_ptr<Capture> capture;
    std::unique_ptr<Lineage> lineage;
    Shadow shadow;

    /// As at a start of the program.
    void open() {
        state = std::make_unique<ShipState>(dir / "cache");
        capture = std::make_unique<Capture>(std::make_unique<LiveDb>(path, LiveDb::Options{}),
                                            *state, clock, log, 1);
        lineage =
            std::make_unique<Lineage>(*capture, *state, Lineage::Options{"app", "h", false}, log);
        std::string reason;
        const auto continuity = capture->attach(reason);
        if (!lineage->settle_offline(continuity, reason))
            lineage->settle({}, continuity, reason);
        drain();
    }
    void close() {
        lineage.reset();
        capture.reset();
        state.reset();
    }
    /// Everything committed by now.
    void ship() {
        std::string reason;
        for (;;) {
            const Capture::Step step = capture->step(reason);
            if (step == Capture::Step::lost)
                lineage->resync(reason);
            else if (step == Capture::Step::nothing)
                break;
        }
        drain();
    }
    void drain() {
        while (auto next = state->oldest()) {
            if (next->kind == SegmentKind::claim) {
                auto view = capture->view(nullptr);
                REQUIRE(view);
                shadow.start(*view->pages);
                Lineage::opened(*state, next->generation);
                // What was captured after the claim is in the view already.
                while (state->oldest())
                    state->acknowledge(state->oldest()->sequence, "k");
                return;
            }
            shadow.apply(state->queued_path(next->sequence));
            state->acknowledge(next->sequence, "k");
        }
    }
    /// The shadow is a sound database with the application's content.
    void prove(App& app, const std::string& queries) {
        const std::string copy = dir / "copy.db";
        shadow.write(copy);
        CHECK(shadow.checksum == capture->position()->checksum);
        App restored(copy, static_cast<int>(shadow.page_size));
        CHECK(restored.text("PRAGMA integrity_check") == "ok|");
        CHECK(restored.text(queries) == app.text(queries));
        for (const char* suffix : {"", "-wal", "-shm"})
            fs::remove(copy + suffix);
    }
};

const char* const kAll = "SELECT count(*), sum(length(v)), sum(id), max(id) FROM t;"
                         "SELECT hex(v) FROM t ORDER BY id DESC LIMIT 5;"
                         "SELECT name, sql FROM sqlite_master ORDER BY name";

} // namespace

TEST_SUITE("wal/live_db") {
    TEST_CASE("refuses what it cannot ship, and changes nothing") {
        Dir dir;
        auto kind = [](const std::string& path) {
            try {
                LiveDb db(path, {});
            } catch (const Error& e) {
                return e.kind();
            }
            return ErrorKind::internal;
        };
        CHECK(kind(dir / "absent.db") == ErrorKind::not_found);
        UniqueFd fd = open_file(dir / "text.db", O_RDWR | O_CREAT);
        write_full(fd.get(), as_bytes(std::string(8192, 'x')), "text.db");
        CHECK(kind(dir / "text.db") == ErrorKind::data);
        {
            App app(dir / "delete.db");
            app.exec("PRAGMA journal_mode=DELETE");
            app.exec("CREATE TABLE t(a)");
        }
        CHECK(kind(dir / "delete.db") == ErrorKind::usage);
        LiveDb switched(dir / "delete.db", {.enable_wal = true});
        App app(dir / "delete.db");
        CHECK(app.text("PRAGMA journal_mode") == "wal|");
    }

    TEST_CASE("an exclusive application is waited for") {
        Dir dir;
        App app(dir / "a.db");
        app.exec("PRAGMA locking_mode=EXCLUSIVE");
        app.exec("CREATE TABLE t(a)");
        try {
            LiveDb db(dir / "a.db", {});
            FAIL("opened");
        } catch (const Error& e) {
            CHECK((e.kind() == ErrorKind::transient));
        }
    }

    TEST_CASE("the wal-index tells each commit, and none that was rolled back") {
        Dir dir;
        App app(dir / "a.db");
        app.exec("CREATE TABLE t(a)");
        LiveDb db(dir / "a.db", {});
        const std::uint32_t before = db.index()->max_frame;
        app.exec("PRAGMA cache_size=5");
        app.exec("BEGIN");
        for (int i = 0; i < 200; ++i)
            app.exec("INSERT INTO t VALUES(zeroblob(3000))");
        const std::uint64_t spilled = db.wal_size();
        CHECK(spilled > 100000); // spilled into the WAL, uncommitted
        app.exec("ROLLBACK");
        CHECK(db.index()->max_frame == before);
        app.exec("INSERT INTO t VALUES(1)");
        CHECK(db.wal_size() == spilled); // the size tells nothing
        CHECK(db.index()->max_frame == before + 1);
    }

    TEST_CASE("after a complete checkpoint the next writer restarts the WAL") {
        Dir dir;
        App app(dir / "a.db");
        app.exec("PRAGMA wal_autocheckpoint=0");
        app.exec("CREATE TABLE t(a)");
        LiveDb db(dir / "a.db", {});
        for (int i = 0; i < 50; ++i)
            app.exec("INSERT INTO t VALUES(zeroblob(3000))");
        const WalIndex before = *db.index();
        REQUIRE(db.lock_writers(20));
        CHECK(app.try_exec("PRAGMA busy_timeout=0; INSERT INTO t VALUES(2)") == SQLITE_BUSY);
        db.end_read();
        const auto done = db.checkpoint();
        db.begin_read();
        db.unlock_writers();
        REQUIRE(done);
        CHECK(done->complete());
        CHECK(done->wal_frames == static_cast<int>(before.max_frame));
        app.exec("INSERT INTO t VALUES(3)");
        CHECK(db.index()->max_frame < before.max_frame);
        CHECK(db.index()->salt != before.salt);
        // Our reader is in slot 0 now: nobody moves the new frames into the file.
        app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        CHECK(db.index()->backfilled == 0);
        CHECK(db.index()->max_frame > 0);
    }

    TEST_CASE("replaced and deleted files are told apart from the same") {
        Dir dir;
        App app(dir / "a.db");
        app.exec("CREATE TABLE t(a)");
        LiveDb db(dir / "a.db", {});
        CHECK(db.place() == LiveDb::Place::same);
        fs::copy_file(dir / "a.db", dir / "b.db");
        fs::rename(dir / "b.db", dir / "a.db");
        CHECK(db.place() == LiveDb::Place::other);
        fs::remove(dir / "a.db");
        CHECK(db.place() == LiveDb::Place::absent);
    }
}

TEST_SUITE("wal/replica_clock") {
    TEST_CASE("time grows evenly while the wall clock is stepped back, and follows it forward") {
        TimePoint wall{Millis(1'000'000)};
        Millis boot{500};
        ReplicaClock clock([&] { return wall; }, [&] { return boot; });
        auto pass = [&](int ms) {
            wall += Millis(ms);
            boot += Millis(ms);
        };
        pass(10);
        CHECK(clock.now() == TimePoint{Millis(1'000'010)});
        wall -= Millis(3'600'000); // an hour back
        pass(5);
        CHECK(clock.now() == TimePoint{Millis(1'000'015)});
        pass(1000);
        CHECK(clock.now() == TimePoint{Millis(1'001'015)});
        wall += Millis(7'200'000); // and two forward
        CHECK(clock.now() == wall);
        pass(7);
        CHECK(clock.now() == wall);
        CHECK(clock.after(wall) == wall + Millis(1)); // two segments in one millisecond
        CHECK(clock.after(wall + Millis(50)) == wall + Millis(51));
    }
}

TEST_SUITE("wal/capture") {
    TEST_CASE("a history of everything an application does is captured exactly") {
        for (int page_size : {512, 4096, 65536})
            for (unsigned seed : {1U, 2U}) {
                CAPTURE(page_size);
                CAPTURE(seed);
                std::mt19937 random(seed);
                auto roll = [&](unsigned n) { return random() % n; };
                Rig rig;
                auto app = std::make_unique<App>(rig.path, page_size);
                app->exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
                app->exec("CREATE INDEX i ON t(v)");
                rig.open();
                App other(rig.path, page_size);
                other.exec("PRAGMA busy_timeout=0");
                std::string reason;
                for (int i = 0; i < 150; ++i) {
                    const std::string n = std::to_string(1 + roll(40)),
                                      bytes = std::to_string(roll(5000));
                    switch (roll(14)) {
                    case 0:
                    case 1:
                    case 2:
                    case 3:
                        app->exec("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c "
                                  "WHERE x<" +
                                  n + ") INSERT INTO t(v) SELECT randomblob(" + bytes + ") FROM c");
                        break;
                    case 4:
                        app->exec("UPDATE t SET v=randomblob(300) WHERE id%" + n + "=0");
                        break;
                    case 5:
                        app->exec("DELETE FROM t WHERE id%" + n + "=1");
                        break;
                    case 6:
                        app->exec("PRAGMA cache_size=3");
                        app->exec("BEGIN");
                        app->exec("UPDATE t SET v=randomblob(500)");
                        app->exec(roll(2) ? "ROLLBACK" : "COMMIT");
                        break;
                    case 7:
                        app->exec("DELETE FROM t WHERE id < (SELECT max(id)/2 FROM t)");
                        app->exec("VACUUM");
                        break;
                    case 8:
                        other.try_exec(
                            std::string("PRAGMA wal_checkpoint(") +
                            std::array{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[roll(4)] + ")");
                        break;
                    case 9:
                    case 10:
                        if (rig.capture->checkpoint(reason) == Capture::Checkpoint::lost)
                            rig.lineage->resync(reason);
                        break;
                    case 11: // killed and started again, something happens in between
                        rig.close();
                        if (roll(2))
                            app->exec("INSERT INTO t(v) VALUES(randomblob(100))");
                        if (roll(2))
                            app->try_exec("PRAGMA wal_checkpoint(TRUNCATE)");
                        if (roll(2))
                            app->exec("INSERT INTO t(v) VALUES(randomblob(2000))");
                        rig.open();
                        break;
                    default:
                        rig.ship();
                    }
                    if (roll(12) == 0) {
                        rig.ship();
                        rig.prove(*app, kAll);
                    }
                }
                rig.ship();
                rig.prove(*app, kAll);
                CHECK(rig.capture->pending_frames() == 0);
            }
    }

    TEST_CASE("what changed while no shipper ran comes as a difference, or as a new generation") {
        Rig rig;
        App app(rig.path);
        app.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
        app.exec("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<3000) "
                 "INSERT INTO t(v) SELECT randomblob(3000) FROM c");
        rig.open();
        rig.ship();
        const std::string generation = rig.capture->position()->generation;
        const std::uint64_t sequence = rig.capture->position()->sequence;
        rig.close();
        app.exec("UPDATE t SET v=randomblob(3000) WHERE id < 50");
        app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        rig.open();
        CHECK(rig.capture->position()->generation == generation);
        CHECK(rig.capture->position()->sequence == sequence + 1);
        rig.prove(app, kAll);
        rig.close();
        app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        rig.open(); // nothing changed: no segment
        CHECK(rig.capture->position()->sequence == sequence + 1);
        rig.close();
        app.exec("UPDATE t SET v=randomblob(3000)");
        app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        rig.open();
        CHECK(rig.capture->position()->generation != generation);
        CHECK(rig.capture->position()->sequence == sequence + 2); // the claim
        rig.prove(app, kAll);
    }

    TEST_CASE("what is committed while the database is compared with a replica follows it") {
        Rig rig;
        App app(rig.path);
        app.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
        app.exec("INSERT INTO t(v) VALUES(randomblob(9000))");
        rig.open();
        SegmentHeader head;
        {
            app.exec("INSERT INTO t(v) VALUES(1)");
            std::string reason;
            REQUIRE(rig.capture->step(reason) == Capture::Step::captured);
            const std::string file = rig.state->queued_path(rig.state->oldest()->sequence);
            UniqueFd fd = open_file(file, O_RDONLY);
            head = verify_segment_file(fd.get(), file);
            rig.drain();
        }
        rig.close();
        fs::remove_all(rig.dir / "cache"); // as on a host that restored the replica
        rig.state = std::make_unique<ShipState>(rig.dir / "cache");
        rig.capture = std::make_unique<Capture>(
            std::make_unique<LiveDb>(rig.path, LiveDb::Options{}), *rig.state, rig.clock, rig.log, 1);
        std::string reason;
        CHECK(rig.capture->attach(reason) == Capture::Continuity::no_position);
        REQUIRE(rig.capture->equals(head));
        for (int i = 0; i < 30; ++i)
            app.exec("INSERT INTO t(v) VALUES(randomblob(9000))");
        app.exec("PRAGMA wal_checkpoint(PASSIVE)");
        rig.capture->adopt(head);
        CHECK(rig.capture->position()->checksum == rig.shadow.checksum);
        rig.capture->set_identity({head.db_id, head.generation, rig.state->writer(), "h"});
        REQUIRE(rig.capture->step(reason) == Capture::Step::captured);
        rig.drain();
        rig.prove(app, kAll);
    }

    TEST_CASE("a large WAL goes into the file before writers are held up, exactly") {
        Rig rig;
        App app(rig.path);
        app.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
        rig.open();
        app.exec("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<3000) "
                 "INSERT INTO t(v) SELECT randomblob(8000) FROM c");
        rig.ship();
        // A writer that never ends its transaction keeps the barrier away, not the back-fill.
        App writer(rig.path);
        writer.exec("BEGIN IMMEDIATE");
        std::string reason;
        CHECK(rig.capture->checkpoint(reason) == Capture::Checkpoint::busy);
        auto index = LiveDb(rig.path, {}).index();
        REQUIRE(index);
        CHECK(index->max_frame > 3000);
        CHECK(index->backfilled == index->max_frame);
        // Nothing is left in the WAL that is not in the file, and yet nobody may begin it anew.
        writer.exec("INSERT INTO t(v) VALUES(1); COMMIT");
        index = LiveDb(rig.path, {}).index();
        REQUIRE(index);
        CHECK(index->max_frame > index->backfilled);
        rig.ship();
        rig.prove(app, kAll);
        CHECK(rig.capture->checkpoint(reason) == Capture::Checkpoint::complete);
        app.exec("UPDATE t SET v=randomblob(100)");
        rig.ship();
        rig.prove(app, kAll);
    }

    TEST_CASE("what was let go of stays so: a checkpoint does not take the lock again") {
        for (const char* bytes : {"100", "8000"}) { // the second: 24 MB are to be back-filled ahead
            Rig rig;
            App app(rig.path);
            app.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
            rig.open();
            app.exec("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<3000) "
                     "INSERT INTO t(v) SELECT randomblob(" +
                     std::string(bytes) + ") FROM c");
            rig.ship();
            rig.capture->db().end_read();
            std::string reason;
            CHECK((rig.capture->checkpoint(reason) == Capture::Checkpoint::busy));
            CHECK_FALSE(rig.capture->db().reading());
            CHECK(app.text("PRAGMA wal_checkpoint(TRUNCATE)") == "0|0|0|");
            rig.capture->attach(reason);
            CHECK(rig.capture->db().reading());
        }
    }

    TEST_CASE("a gap is told once, by the segment that ends it, also after a kill") {
        Rig rig;
        App app(rig.path);
        app.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
        rig.open();
        auto again = [&] {
            rig.close();
            rig.open();
        };
        // Nobody restarted the WAL: nothing is lost, and nothing is said of it.
        Lineage::begin_gap(*rig.state, rig.capture->position()->time);
        app.exec("INSERT INTO t(v) VALUES(1)");
        again();
        CHECK_FALSE(Lineage::gap(*rig.state));
        rig.ship();

        const TimePoint from = rig.capture->position()->time;
        Lineage::begin_gap(*rig.state, from);
        rig.close();
        app.exec("INSERT INTO t(v) VALUES(2); PRAGMA wal_checkpoint(TRUNCATE)");
        rig.state = std::make_unique<ShipState>(rig.dir / "cache");
        CHECK((Lineage::gap(*rig.state) == from));
        again();
        CHECK_FALSE(Lineage::gap(*rig.state));
        rig.prove(app, kAll);
        // Killed before the note went: what tells of it is in the queue already.
        Lineage::begin_gap(*rig.state, from);
        CHECK_FALSE(Lineage::gap(*rig.state));
    }

    TEST_CASE("a view stays as it was while others write and checkpoint") {
        Rig rig;
        App app(rig.path);
        app.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
        rig.open();
        for (int round = 0; round < 6; ++round) {
            std::string reason;
            app.exec("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<300) "
                     "INSERT INTO t(v) SELECT randomblob(3000) FROM c");
            if (round % 2)
                rig.capture->checkpoint(reason);
            rig.ship();
            auto view = rig.capture->view(nullptr);
            REQUIRE(view);
            Shadow before, after;
            before.start(*view->pages);
            for (int i = 0; i < 5; ++i) {
                app.exec("UPDATE t SET v=randomblob(3000)");
                app.try_exec("PRAGMA wal_checkpoint(PASSIVE)");
                app.try_exec("PRAGMA busy_timeout=0; PRAGMA wal_checkpoint(TRUNCATE)");
                rig.ship();
            }
            after.start(*view->pages);
            CHECK(before.pages == after.pages);
            CHECK(before.checksum == view->position.checksum);
        }
    }
}
