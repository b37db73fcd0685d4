// The shipper as a whole, in this process, against a store that waits or fails on demand.
#include "base/error.hpp"
#include "restore_fixture.hpp"
#include "store/forwarding_store.hpp"
#include "wal/lineage.hpp"
#include "wal/replica_head.hpp"
#include "wal/replicator.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

using namespace zl;
using restore_test::Directory;
using restore_test::Sql;
using Steady = std::chrono::steady_clock;

namespace {

const ReplicaKeys kKeys("db/app/");

/// Passes everything on to a directory store; before() may throw or wait. A fake: labelled so.
class Gate final : public ForwardingStore {
public:
    using ForwardingStore::ForwardingStore;
    enum class What { read, write };
    void set(std::function<void(What, const std::string& key)> before) {
        std::lock_guard lock(mutex_);
        before_ = std::move(before);
    }
    void down() {
        set([](What, const std::string&) { throw Error(ErrorKind::transient, "down"); });
    }
    void up() { set({}); }
    /// Writes of keys below @p prefix wait until up() or the end.
    void hang(const std::string& prefix) {
        held_ = true;
        set([this, prefix](What what, const std::string& key) {
            if (what != What::write || !key.starts_with(prefix))
                return;
            std::unique_lock lock(hold_mutex_);
            waiting_ = true;
            hold_.wait(lock, [&] { return !held_; });
            waiting_ = false;
        });
    }
    void go() {
        std::lock_guard lock(hold_mutex_);
        held_ = false;
        hold_.notify_all();
    }
    bool waiting() const { return waiting_; }

    std::optional<ObjectInfo> head(const std::string& k) override {
        return (before(What::read, k), inner_.head(k));
    }
    std::optional<ObjectInfo> get(const std::string& k, Sink& s, const GetOptions& o) override {
        return (before(What::read, k), inner_.get(k, s, o));
    }
    std::string put(const std::string& k, const Body& b, const PutOptions& o) override {
        return (before(What::write, k), inner_.put(k, b, o));
    }
    void list(const std::string& p, const ListOptions& o,
              const std::function<bool(const ObjectInfo&)>& v) override {
        before(What::read, p);
        inner_.list(p, o, v);
    }
    std::string create_upload(const std::string& k, const PutOptions& o) override {
        return (before(What::write, k), inner_.create_upload(k, o));
    }
    std::string upload_part(const std::string& k, const std::string& u, int n, const Body& b,
                            const std::function<void(std::int64_t)>& f) override {
        return (before(What::write, k), inner_.upload_part(k, u, n, b, f));
    }
    void complete_upload(const std::string& k, const std::string& u,
                         const std::vector<PartInfo>& p) override {
        before(What::write, k);
        inner_.complete_upload(k, u, p);
    }

private:
    void before(What what, const std::string& key) {
        std::function<void(What, const std::string&)> f;
        {
            std::lock_guard lock(mutex_);
            f = before_;
        }
        if (f)
            f(what, key);
    }

    std::mutex mutex_, hold_mutex_;
    std::condition_variable hold_;
    std::function<void(What, const std::string&)> before_;
    std::atomic<bool> held_ = false, waiting_ = false;
};

/// Can hold the thread that says a certain thing.
class HoldingLog final : public Log {
public:
    void write(LogLevel, std::string_view text) override {
        std::unique_lock lock(mutex_);
        all_ += std::string(text) + "\n";
        if (!at.empty() && text.find(at) != std::string_view::npos)
            changed_.wait_for(lock, hold_for);
    }
    bool said(const std::string& text) {
        std::lock_guard lock(mutex_);
        return all_.find(text) != std::string::npos;
    }
    std::string at;
    Millis hold_for{0};

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string all_;
};

struct Shipper {
    Directory dir;
    std::string path = dir / "app.db";
    HoldingLog log;
    std::unique_ptr<ObjectStore> directory =
        open_local_store(StoreUrl::parse(dir / "store"), {}, log);
    Gate store{*directory};
    ReplicatorOptions options;
    std::unique_ptr<Sql> app;
    std::unique_ptr<Replicator> replicator;
    std::stop_source stop;
    std::thread runs;

    Shipper() {
        std::filesystem::create_directory(dir / "cache");
        app = std::make_unique<Sql>(path);
        app->run("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0;"
                  "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
        options.database = path;
        options.cache_dir = dir / "cache";
        options.name = "app";
        options.host = "h";
        options.sync_interval = Millis(20);
        options.drain_timeout = Millis(100);
        options.break_off = [this] { store.go(); };
    }
    ~Shipper() { end(); }
    void begin() {
        stop = {};
        replicator = std::make_unique<Replicator>(store, kKeys, options, log);
        replicator->start();
        runs = std::thread([this] {
            try {
                replicator->run(stop.get_token());
            } catch (const std::exception& e) {
                log.write(LogLevel::error, std::string("ended: ") + e.what());
            }
        });
    }
    void end() {
        if (!runs.joinable())
            return;
        stop.request_stop();
        store.go();
        runs.join();
        replicator.reset();
    }
    void once() {
        Replicator one(store, kKeys, options, log);
        one.once({});
    }
    std::size_t objects(const std::string& prefix) {
        std::size_t n = 0;
        store.list(prefix, {}, [&](const ObjectInfo&) { return ++n > 0; });
        return n;
    }
    void commits(int n, int bytes) {
        for (int i = 0; i < n; ++i)
            app->run("INSERT INTO t(v) VALUES(randomblob(" + std::to_string(bytes) + "))");
    }
    ShipStatus status() const { return replicator->status(); }
    /// Until it is so; @p limit is for a busy machine.
    bool within(int seconds, const std::function<bool()>& is) const {
        const auto limit = Steady::now() + std::chrono::seconds(seconds);
        while (!is()) {
            if (Steady::now() > limit)
                return false;
            std::this_thread::sleep_for(Millis(10));
        }
        return true;
    }
    bool reaches(const std::string& state) {
        const bool got = within(40, [&] { return status().state == state; });
        INFO(status().state << ": " << status().last_error);
        CHECK(got);
        return got;
    }
    /// The application's own checkpoint empties the WAL: nobody holds it.
    bool wal_is_free() {
        app->run("PRAGMA wal_checkpoint(TRUNCATE)");
        return std::filesystem::file_size(path + "-wal") == 0;
    }
    /// Header of the last segment in the store.
    SegmentHeader last() { return read_replica_head(store, kKeys).segment.value(); }
};

} // namespace

TEST_SUITE("wal/replicator") {
    TEST_CASE("a gap outlasts a restart: the WAL stays free, and the replica is told of it") {
        Shipper s;
        s.options.max_cache_size = 1 << 20;
        s.options.max_wal = 2 << 20;
        s.begin();
        s.replicator->flush(Millis(30000));
        s.store.down();
        s.within(40, [&] {
            s.commits(1, 500'000);
            return s.status().state == "gap";
        });
        REQUIRE(s.reaches("gap"));
        const auto since = s.status().gap_from;
        REQUIRE(since);
        CHECK(s.wal_is_free());
        s.commits(3, 10'000);
        s.end();

        const auto left = stopped_status(s.options.cache_dir);
        REQUIRE(left);
        CHECK((left->gap_from == since));
        s.begin(); // the store is still away
        REQUIRE(s.reaches("gap"));
        CHECK((s.status().gap_from == since));
        s.commits(3, 10'000);
        CHECK(s.wal_is_free());
        CHECK(s.status().lag > Millis(0));
        s.store.up();
        REQUIRE(s.reaches("streaming"));
        s.replicator->flush(Millis(30000));
        CHECK((s.last().gap_from == since));
        CHECK_FALSE(s.status().gap_from);
        s.commits(1, 100);
        s.replicator->flush(Millis(30000));
        CHECK_FALSE(s.last().gap_from);
        s.end();
        CHECK_FALSE(stopped_status(s.options.cache_dir)->gap_from);
    }

    TEST_CASE("a first snapshot that is refused is an outage, in status and for the WAL") {
        Shipper s;
        s.options.max_cache_size = 1 << 20;
        s.options.max_wal = 2 << 20;
        s.store.set([](Gate::What what, const std::string& key) {
            if (what == Gate::What::write && key.starts_with(kKeys.snapshots()))
                throw Error(ErrorKind::transient, "refused");
        });
        s.begin();
        REQUIRE(s.within(40, [&] { return s.status().failed_uploads > 0; }));
        CHECK(s.status().durable_sequence > 0);
        CHECK_FALSE(s.status().durable_time);
        CHECK(s.within(10, [&] { return s.status().lag > Millis(0); }));
        CHECK(s.within(40, [&] {
            s.commits(2, 500'000);
            return s.status().state == "gap";
        }));
        CHECK(s.wal_is_free());
        s.store.up();
        REQUIRE(s.reaches("streaming"));
        s.commits(1, 100);
        s.replicator->flush(Millis(30000));
        CHECK(s.status().lag == Millis(0));
        CHECK(s.status().last_error == "");
    }

    TEST_CASE("a first snapshot is not kept from a full cache by what it waits for itself") {
        // It needs a view, that needs the WAL captured up to our lock, and that needs room in the
        // cache, which only the snapshot makes: of a generation without one nothing is sent.
        Shipper s;
        s.options.max_cache_size = 1 << 20;
        s.store.set([](Gate::What what, const std::string& key) {
            if (what == Gate::What::write && key.starts_with(kKeys.snapshots()))
                throw Error(ErrorKind::transient, "refused");
        });
        SUBCASE("in a gap, with a WAL that nobody restarted") {
            s.options.max_wal = 2 << 20;
            s.begin();
            REQUIRE(s.within(40, [&] {
                s.commits(2, 500'000);
                return s.status().state == "gap";
            }));
            s.commits(4, 500'000);
        }
        SUBCASE("after a restart") {
            s.options.max_wal.reset();
            s.begin();
            REQUIRE(s.within(40, [&] {
                s.commits(2, 500'000);
                return s.status().state == "backpressure";
            }));
            s.end();
            s.commits(4, 500'000);
            s.begin();
            REQUIRE(s.reaches("backpressure"));
        }
        s.store.up();
        REQUIRE(s.reaches("streaming"));
        s.replicator->flush(Millis(30000));
        CHECK(s.objects(kKeys.snapshots()) > 0);
        CHECK(s.status().lag == Millis(0));
    }

    TEST_CASE("a request that takes for ever does not keep the capture thread") {
        Shipper s;
        s.begin();
        s.replicator->flush(Millis(30000));
        s.store.hang(kKeys.segments());
        s.commits(1, 100);
        REQUIRE(s.within(20, [&] { return s.store.waiting(); }));
        auto goes_on = [&] {
            const std::uint64_t before = s.status().captured_sequence;
            return s.within(20, [&] {
                s.commits(1, 100);
                return s.status().captured_sequence > before;
            });
        };
        // Somebody wrote into the file: all pages are compared.
        ::utimensat(AT_FDCWD, s.path.c_str(), nullptr, 0);
        CHECK(s.within(20, [&] { return s.log.said("changed outside of its WAL"); }));
        CHECK(goes_on());
        // Another file: the head is asked for, and not told.
        s.app->run("VACUUM INTO '" + (s.dir / "other.db") + "'");
        s.app.reset();
        Sql(s.dir / "other.db").run("PRAGMA journal_mode=WAL");
        for (const char* suffix : {"-wal", "-shm"})
            std::filesystem::remove(s.path + suffix);
        std::filesystem::rename(s.dir / "other.db", s.path);
        s.app = std::make_unique<Sql>(s.path);
        CHECK(s.within(20, [&] { return s.log.said("was replaced"); }));
        CHECK(goes_on());
        CHECK(s.store.waiting());
        s.store.up();
        s.store.go();
        s.replicator->flush(Millis(30000));
        CHECK_FALSE(s.log.said("ended"));
    }

    TEST_CASE("a capture thread that hangs shows as lag") {
        Shipper s;
        s.log.at = "continuity lost";
        s.log.hold_for = Millis(4500);
        s.begin();
        s.replicator->flush(Millis(30000));
        CHECK(s.status().lag == Millis(0));
        ::utimensat(AT_FDCWD, s.path.c_str(), nullptr, 0);
        REQUIRE(s.within(20, [&] { return s.log.said("continuity lost"); }));
        CHECK(s.within(20, [&] { return s.status().lag > Millis(3000); }));
        CHECK(s.within(20, [&] { return s.status().lag == Millis(0); }));
    }

    TEST_CASE("once: what is due is merged before it ends, however slow the store reads") {
        Shipper s;
        s.store.set([](Gate::What what, const std::string& key) {
            if (what == Gate::What::read && key.starts_with(kKeys.segments()) && key.ends_with(".zst"))
                std::this_thread::sleep_for(Millis(5));
        });
        const std::string merged = kKeys.prefix() + "merged/";
        for (int i = 0; i < 70 && s.objects(merged) == 0; ++i) {
            s.commits(1, 100);
            s.once();
        }
        CHECK(s.objects(merged) == 1);

        // It is no part of what the run is for: that it fails is said, and left to the next run.
        s.store.set([&](Gate::What what, const std::string& key) {
            if (what == Gate::What::write && key.starts_with(merged))
                throw Error(ErrorKind::transient, "no merging today");
        });
        for (int i = 0; i < 70 && !s.log.said("no merging today"); ++i) {
            s.commits(1, 100);
            s.once();
        }
        CHECK(s.log.said("merging and deleting, which the next run does"));
        CHECK(s.objects(merged) == 1);
        s.store.up();
        s.commits(1, 100);
        s.once();
        CHECK(s.objects(merged) == 2);
    }
}
