/// What becomes of spools that no push works on: none that may be the only copy is lost.
#include "fixture.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/pusher.hpp"
#include "transfer/spool_file.hpp"
#include "transfer/spool_sweep.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

using namespace zl;
using namespace zl::test;

namespace {

using Kind = DeadPush::Kind;

/// The store of a host, down or not.
struct Link {
    explicit Link(const std::string& dir) : url_path(dir) {}
    std::unique_ptr<ObjectStore> open() const {
        auto s = std::make_unique<FaultyStore>(url_path);
        if (down)
            s->fault = [](const std::string& call, bool) {
                if (call.starts_with("put") || call == "part")
                    throw Error(ErrorKind::transient, "503");
            };
        return s;
    }
    std::string url_path;
    bool down = false;
};

struct Warnings final : Log {
    void write(LogLevel, std::string_view message) override { lines.emplace_back(message); }
    bool tells(const std::string& word) const {
        return std::any_of(lines.begin(), lines.end(),
                           [&](auto& l) { return l.find(word) != std::string::npos; });
    }
    std::vector<std::string> lines;
};

/// One state database and one spool directory.
struct Desk {
    Desk(Link& l, const std::string& db_path, std::string spools)
        : link(l), db(db_path), spool_dir(std::move(spools)) {}
    Pusher pusher() {
        PushOptions o;
        o.store_url = "file://" + link.url_path;
        o.prefix = kDefaultLayerPrefix;
        o.spool_dir = spool_dir;
        o.name = "n";
        o.part_size = 5 << 20;
        return {db, o, [this](auto&) { return link.open(); }, log, progress, {}};
    }
    PushOutcome push(const std::string& blob) {
        MemorySource in(as_bytes(blob));
        auto p = pusher();
        PushOutcome o = p.push(in, [](auto&) {});
        p.finish_pending();
        return o;
    }
    /// Leaves its spool, whose path is returned.
    std::string push_in_vain(const std::string& blob) {
        link.down = true;
        CHECK_THROWS_AS(push(blob), Error);
        link.down = false;
        return db.pushes().back().spool;
    }
    int resume() {
        int n = 0;
        pusher().resume_all([&](auto&) { ++n; });
        return n;
    }
    std::optional<ErrorKind> resume_fails() {
        try {
            resume();
        } catch (const Error& e) {
            CHECK(e.hint().find("the input is saved") == std::string::npos);
            return e.kind();
        }
        return std::nullopt;
    }
    Link& link;
    StateDb db;
    std::string spool_dir;
    Warnings log;
    NullProgress progress;
};

std::map<std::string, Kind> dead(StateDb& db, const std::string& dir, Fate fate = Fate::keep) {
    std::map<std::string, Kind> out;
    sweep_spools(db, dir, [&](const DeadPush& d) {
        out[d.spool] = d.kind;
        return fate;
    });
    return out;
}

std::optional<TimePoint> marked(StateDb& db, const std::string& dir) {
    std::optional<TimePoint> out;
    sweep_spools(db, dir, [&](const DeadPush& d) {
        out = d.marked;
        return Fate::keep;
    });
    return out;
}

} // namespace

TEST_SUITE("transfer/spool") {
    TEST_CASE("a spool of another state database is told of and left alone by all that zl-push does") {
        TempDir dir;
        Link link(dir / "store");
        Desk a(link, dir / "a.db", dir / "spool");
        const std::string spool = a.push_in_vain(layer_of(100000, 1));
        Desk b(link, dir / "b.db", dir / "spool");
        b.pusher().list();
        CHECK(b.log.tells(spool));
        CHECK(b.resume() == 0);
        b.push(layer_of(100000, 2));
        CHECK(path_exists(spool));
        CHECK(a.resume() == 1);
        CHECK_FALSE(path_exists(spool));
    }

    TEST_CASE("the spool directory may be given in any spelling, from anywhere") {
        TempDir dir;
        Link link(dir / "store");
        Desk a(link, dir / "a.db", dir / "spool/");
        const std::string spool = a.push_in_vain(layer_of(100000, 1));
        std::filesystem::create_directory_symlink(dir / "spool", dir / "link");
        for (const char* spelling : {"/spool", "/spool/", "//spool", "/link"})
            CHECK(dead(a.db, dir.path() + spelling).empty());
        const auto here = std::filesystem::current_path();
        std::filesystem::current_path(dir.path());
        a.spool_dir = "relative";
        const std::string other = a.push_in_vain(layer_of(100000, 2));
        std::filesystem::current_path(here);
        CHECK(path_exists(other));
        CHECK(a.resume() == 2);
    }

    TEST_CASE("a spool that is not there for a while is finished when it is again") {
        TempDir dir;
        Link link(dir / "store");
        Desk a(link, dir / "a.db", dir / "usb/spool");
        const std::string spool = a.push_in_vain(layer_of(100000, 1));
        a.spool_dir = dir / "spool";
        for (const char* away : {"/usb", "/usb/spool"}) {
            CAPTURE(away);
            a.log.lines.clear();
            std::filesystem::rename(dir.path() + away, dir / "away");
            if (std::string(away) == "/usb/spool")
                std::filesystem::create_directory(dir.path() + away); // the mount point
            a.push(layer_of(1000, 2));
            CHECK(a.log.tells(spool));
            CHECK(a.resume_fails() == ErrorKind::io);
            auto list = a.pusher().list();
            REQUIRE(list.size() == 1);
            CHECK(list[0].lost);
            std::filesystem::remove(dir.path() + away);
            std::filesystem::rename(dir / "away", dir.path() + away);
            CHECK(dead(a.db, a.spool_dir).empty());
        }
        CHECK(a.resume() == 1);
        CHECK(a.db.pushes().empty());
    }

    TEST_CASE("a spool that changed on its disk is not sent; the same input again finishes both") {
        for (std::size_t size : {std::size_t{100000}, std::size_t{11} << 20}) {
            TempDir dir;
            Link link(dir / "store");
            Desk a(link, dir / "a.db", dir / "spool");
            const std::string blob = layer_of(size, 3);
            const std::string spool = a.push_in_vain(blob);
            std::fstream f(spool, std::ios::in | std::ios::out | std::ios::binary);
            f.seekp(5000);
            f.put(static_cast<char>(blob[5000] ^ 1));
            f.close();
            CHECK(a.resume_fails() == ErrorKind::io);
            CHECK(path_exists(spool));
            REQUIRE(a.db.pushes().size() == 1);
            auto key = layer_key("layers/", a.db.pushes()[0].digest);
            CHECK_FALSE(link.open()->head(key));
            a.push(blob);
            CHECK(get_text(*link.open(), key, SIZE_MAX) == blob);
            CHECK(a.db.pushes().empty());
            CHECK_FALSE(path_exists(spool));
            CHECK(link.open()->list_uploads("").empty());
        }
    }

    TEST_CASE("what dies at its end leaves a row, and the next run clears both") {
        TempDir dir;
        Link link(dir / "store");
        Desk a(link, dir / "a.db", dir / "spool");
        for (bool removed : {false, true}) {
            const std::string spool = a.push_in_vain(layer_of(100000, 1));
            PushRow row = a.db.pushes()[0];
            row.state = "done";
            a.db.update_push(row);
            if (removed)
                std::filesystem::remove(spool);
            CHECK(a.pusher().list().empty());
            CHECK(dead(a.db, a.spool_dir).at(spool) == Kind::done);
            CHECK(a.resume() == 0);
            CHECK_FALSE(path_exists(spool));
            CHECK(a.db.pushes().empty());
            CHECK(a.log.lines.empty());
        }
    }

    TEST_CASE("input that was cut is nobody's; with its directory away nobody can say") {
        TempDir dir;
        Link link(dir / "store");
        Desk a(link, dir / "a.db", dir / "spool");
        const std::string spool = a.push_in_vain(layer_of(100000, 1));
        PushRow row = a.db.pushes()[0];
        row.state = "spooling";
        a.db.update_push(row);
        CHECK(dead(a.db, a.spool_dir).at(spool) == Kind::cut_input);
        std::filesystem::rename(dir / "spool", dir / "away");
        CHECK(dead(a.db, a.spool_dir).at(spool) == Kind::lost);
        a.spool_dir = dir / "other";
        CHECK(a.resume() == 0); // it may live, in a mount namespace of its own
        CHECK(a.db.pushes().size() == 1);
        std::filesystem::rename(dir / "away", dir / "spool");
        CHECK(a.resume() == 0);
        CHECK(a.db.pushes().empty());
        CHECK_FALSE(path_exists(spool));
    }

    TEST_CASE("a mark lasts as long as nothing changes") {
        TempDir dir;
        Link link(dir / "store");
        Desk a(link, dir / "a.db", dir / "spool");
        const std::string spool = a.push_in_vain(layer_of(100000, 1)), away = dir / "away";
        StateDb b(dir / "b.db");
        for (StateDb* db : {&a.db, &b}) {
            const bool lost = db == &a.db;
            CAPTURE(lost);
            auto vanish = [&] { std::filesystem::rename(lost ? spool : away, lost ? away : spool); };
            auto heal = [&] { std::filesystem::rename(lost ? away : spool, lost ? spool : away); };
            if (!lost)
                std::filesystem::rename(spool, away);
            vanish();
            CHECK_FALSE(marked(*db, a.spool_dir));
            CHECK(dead(*db, a.spool_dir, Fate::mark).at(spool) ==
                  (lost ? Kind::lost : Kind::orphan));
            CHECK(marked(*db, a.spool_dir + "/"));
            heal();
            CHECK(dead(*db, a.spool_dir).empty());
            vanish();
            CHECK_FALSE(marked(*db, a.spool_dir));
            heal();
            if (!lost)
                std::filesystem::rename(away, spool);
        }
    }

    TEST_CASE("a row that is forgotten leaves its spool, found again, as new") {
        TempDir dir;
        Link link(dir / "store");
        Desk a(link, dir / "a.db", dir / "spool");
        const std::string spool = a.push_in_vain(layer_of(100000, 1)), away = dir / "away";
        std::filesystem::rename(spool, away);
        dead(a.db, a.spool_dir, Fate::mark);
        dead(a.db, a.spool_dir, Fate::remove);
        CHECK(a.db.pushes().empty());
        std::filesystem::rename(away, spool);
        CHECK(dead(a.db, a.spool_dir).at(spool) == Kind::orphan);
        CHECK_FALSE(marked(a.db, a.spool_dir));
        dead(a.db, a.spool_dir, Fate::remove);
        CHECK_FALSE(path_exists(spool));
    }

    TEST_CASE("what a living process has is not visited") {
        TempDir dir;
        Link link(dir / "store");
        Desk a(link, dir / "a.db", dir / "spool");
        const std::string spool = a.push_in_vain(layer_of(100000, 1));
        StateDb b(dir / "b.db");
        auto lock = lock_spool(spool);
        REQUIRE(lock);
        CHECK(dead(b, a.spool_dir, Fate::remove).empty());
        std::filesystem::rename(spool, dir / "away");
        CHECK(dead(a.db, a.spool_dir, Fate::remove).empty());
        CHECK(a.db.pushes().size() == 1);
        lock->remove_and_unlock();
    }
}
