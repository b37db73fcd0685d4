#include "store/forwarding_store.hpp"
#include "fixture.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/layer_meta.hpp"
#include "transfer/pusher.hpp"
#include "transfer/refs.hpp"

#include <doctest/doctest.h>

#include <mutex>

using namespace zl;
using namespace zl::test;

namespace {

constexpr std::size_t kPart = 5 << 20;

struct Host {
    explicit Host(FaultyStore& s, const std::string& dir)
        : store(s), dir_(dir), db(dir + "/push.db") {}

    Pusher pusher(PushOptions o) {
        o.store_url = store.identity();
        o.prefix = kDefaultLayerPrefix;
        o.spool_dir = dir_ + "/spool";
        o.part_size = kPart;
        // The tests keep the store; the pusher gets a view of it.
        auto view = [this](auto&) { return std::make_unique<ForwardingStore>(store); };
        return Pusher(db, o, view, log, progress, {});
    }
    PushOutcome push(const std::string& blob, PushOptions o = {}) {
        MemorySource in(as_bytes(blob));
        return pusher(o).push(in, [](auto&) {});
    }
    std::vector<PushOutcome> resume() {
        std::vector<PushOutcome> out;
        pusher({}).resume_all([&](const PushOutcome& p) { out.push_back(p); });
        return out;
    }
    std::size_t spool_files() const {
        std::size_t n = 0;
        for ([[maybe_unused]] auto& f : std::filesystem::directory_iterator(dir_ + "/spool"))
            ++n;
        return n;
    }

    FaultyStore& store;
    std::string dir_;
    StateDb db;
    NullLog log;
    NullProgress progress;
};

std::string stored(FaultyStore& s, const std::string& digest) {
    return get_text(s.inner(), layer_key("layers/", digest), SIZE_MAX).value_or("(absent)");
}

/// Stands for kill -9: no Error, so that nothing is cleaned up or recorded.
struct Killed {};

} // namespace

TEST_SUITE("transfer/push") {
    TEST_CASE("stores the bytes, the metadata and the ref, and leaves nothing behind") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        for (std::size_t size : {std::size_t{512}, kPart * 3 + 1000}) {
            std::string blob = layer_of(size, 1);
            PushOptions o;
            o.name = "web1";
            o.tags = "{\"k\":\"v\"}";
            PushOutcome p = host.push(blob, o);
            CHECK(stored(store, p.digest) == blob);
            CHECK(p.bytes_sent == blob.size());
            auto meta = read_layer_meta(store, layer_meta_key("layers/", p.digest));
            REQUIRE(meta);
            CHECK(meta->compressed_size_bytes == blob.size());
            CHECK(meta->blob_sha256 == sha256(as_bytes(blob)).hex());
            CHECK(meta->tags == "{\"k\":\"v\"}");
            CHECK(resolve_ref(store, "layers/", "web1").digest == p.digest);
            CHECK(host.spool_files() == 0);
            CHECK(host.db.pushes().empty());
            CHECK(store.list_uploads("").empty());
        }
        CHECK(list_refs(store, "layers/", "web1").size() == 2);
    }

    TEST_CASE("the object may be replaced by another push of the layer while it is looked at") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        const std::string blob = layer_of(100000, 2);
        const std::string key = layer_key("layers/", host.push(blob).digest);
        auto replace = [&] { store.inner().put(key, MemoryBody(blob)); }; // without our metadata
        replace();
        int replaced = 0;
        store.fault = [&](const std::string& call, bool after) {
            if (call == "get" && !after && ++replaced <= 3)
                replace();
        };
        CHECK(host.push(blob).already_stored);
        CHECK(replaced > 3);
    }

    TEST_CASE("sends nothing when it is already stored, also at another level; --force sends") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        std::string blob = layer_of(100000, 2, 1), other = layer_of(100000, 2, 19);
        PushOutcome p = host.push(blob);
        PushOutcome q = host.push(blob);
        CHECK(q.already_stored);
        CHECK(q.bytes_sent == 0);
        PushOptions force;
        force.force = true;
        CHECK_FALSE(host.push(blob, force).already_stored);
        REQUIRE(other != blob);
        PushOutcome r = host.push(other);
        CHECK(r.digest == p.digest);
        CHECK(r.already_stored);
        CHECK(stored(store, p.digest) == blob);
    }

    TEST_CASE("a stored object that is cut, or whose end is not true, is replaced") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        std::string blob = layer_of(100000, 3);
        PushOutcome p = host.push(blob);
        std::string key = layer_key("layers/", p.digest);
        for (std::string bad :
             {blob.substr(0, blob.size() - 1), blob + "x",
              blob.substr(0, blob.size() - 100) + std::string(100, 'x'), std::string()}) {
            store.inner().put(key, MemoryBody(bad));
            PushOutcome q = host.push(blob);
            CHECK_FALSE(q.already_stored);
            CHECK(stored(store, p.digest) == blob);
        }
    }

    TEST_CASE("another object than the one that was sent is not taken for it") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        std::string blob = layer_of(100000, 15);
        int lies = 0;
        store.fault = [&](const std::string& call, bool after) {
            if (call == "put zst" && after && lies++ == 0)
                store.inner().list("layers/", {}, [&](const ObjectInfo& o) {
                    store.inner().put(o.key, MemoryBody("what was there before"));
                    return true;
                });
        };
        PushOutcome p = host.push(blob);
        CHECK(lies == 2);
        CHECK(stored(store, p.digest) == blob);
        CHECK(read_layer_meta(store, layer_meta_key("layers/", p.digest))->compressed_size_bytes ==
              blob.size());
    }

    TEST_CASE("killed around every request, it continues and resends at most --jobs parts") {
        std::string blob = layer_of(kPart * 9 + 77777, 4);
        std::string expected = sha256(as_bytes(blob)).hex();
        // How many requests does a push make?
        int total = 0;
        {
            TempDir dir;
            FaultyStore store(dir / "store");
            Host host(store, dir.path());
            store.fault = [&](auto&, bool) { ++total; };
            PushOptions o;
            o.name = "n";
            o.jobs = 2;
            host.push(blob, o);
        }
        REQUIRE(total > 30);
        for (int kill = 1; kill <= total; ++kill) {
            TempDir dir;
            FaultyStore store(dir / "store");
            std::string digest;
            int seen = 0;
            std::string at;
            {
                Host host(store, dir.path());
                store.fault = [&](const std::string& call, bool after) {
                    if (++seen >= kill) {
                        if (at.empty())
                            at = call + (after ? " after" : " before");
                        throw Killed();
                    }
                };
                PushOptions o;
                o.name = "n";
                o.jobs = 2;
                try {
                    host.push(blob, o);
                } catch (const Killed&) {
                }
            }
            store.fault = [](auto&, bool) {};
            int parts_before = store.calls["part"];
            Host host(store, dir.path());
            auto outcomes = host.resume();
            INFO("killed at request ", kill, ": ", at);
            if (outcomes.empty()) { // it had got to its end
                digest = resolve_ref(store, "layers/", "n").digest;
            } else {
                digest = outcomes[0].digest;
            }
            CHECK(sha256(as_bytes(stored(store, digest))).hex() == expected);
            CHECK(resolve_ref(store, "layers/", "n").digest == digest);
            CHECK(list_refs(store, "layers/", "n").size() == 1);
            CHECK(read_layer_meta(store, layer_meta_key("layers/", digest)));
            CHECK(host.db.pushes().empty());
            CHECK(host.spool_files() == 0);
            // 10 parts in all; twice at most the two in flight.
            CHECK(parts_before + (store.calls["part"] - parts_before) <= 12);
            std::size_t unknown = store.list_uploads("").size();
            CHECK(unknown == host.db.suspects(store.identity()).size());
            CHECK(unknown <= 1);
        }
    }

    TEST_CASE("the same pipeline run again continues the upload; both runs get their ref") {
        std::string blob = layer_of(kPart * 6 + 5000, 14);
        for (const char* where : {"part", "complete"}) {
            TempDir dir;
            FaultyStore store(dir / "store");
            Host host(store, dir.path());
            PushOptions o;
            o.name = "n";
            o.jobs = 1;
            int seen = 0;
            store.fault = [&](const std::string& call, bool after) {
                if (call == where && !after && (call != "part" || ++seen == 5))
                    throw Killed();
            };
            CHECK_THROWS_AS(host.push(blob, o), Killed);
            store.fault = [](auto&, bool) {};
            PushOutcome p = host.push(blob, o);
            CHECK(p.resumed);
            // 7 parts; the one that was refused was counted too.
            CHECK(store.calls["part"] == (std::string(where) == "part" ? 8 : 7));
            host.pusher(o).finish_pending();
            CHECK(stored(store, p.digest) == blob);
            CHECK(host.db.pushes().empty());
            CHECK(list_refs(store, "layers/", "n").size() == 2);
            CHECK(store.list_uploads("").empty());
        }
    }

    TEST_CASE("an upload that somebody aborted is started over") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        std::string blob = layer_of(kPart * 3, 5);
        int parts = 0;
        store.fault = [&](const std::string& call, bool after) {
            if (call == "part" && !after && ++parts == 2)
                for (auto& u : store.inner().list_uploads(""))
                    store.inner().abort_upload(u.key, u.upload_id);
        };
        PushOptions o;
        o.jobs = 1;
        PushOutcome p = host.push(blob, o);
        CHECK(stored(store, p.digest) == blob);
        CHECK(store.list_uploads("").empty());
    }

    TEST_CASE("a lost reply to Complete is settled by looking, whoever's object is there") {
        for (bool took_effect : {true, false}) {
            TempDir dir;
            FaultyStore store(dir / "store");
            Host host(store, dir.path());
            std::string blob = layer_of(kPart * 2, 6);
            int lost = 0;
            store.fault = [&](const std::string& call, bool after) {
                if (call == "complete" && after == took_effect && lost++ == 0)
                    throw Error(ErrorKind::transient, "connection reset");
            };
            PushOutcome p = host.push(blob);
            CHECK(lost >= 1);
            CHECK(stored(store, p.digest) == blob);
            CHECK(store.list_uploads("").empty());
        }
    }

    TEST_CASE("a store that is down keeps the spool; the time of the ref stays") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        std::string older = layer_of(1000, 7), newer = layer_of(1000, 8);
        PushOptions o;
        o.name = "n";
        store.fault = [](const std::string& call, bool after) {
            if (call.starts_with("put") && !after)
                throw Error(ErrorKind::transient, "503");
        };
        try {
            host.push(older, o);
            FAIL("no error");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::transient);
            CHECK(e.hint().find("--resume") != std::string::npos);
        }
        CHECK(host.spool_files() == 1);
        store.fault = [](auto&, bool) {};
        PushOutcome n = host.push(newer, o);
        host.pusher(o).finish_pending();
        CHECK(host.db.pushes().empty());
        CHECK(list_refs(store, "layers/", "n").size() == 2);
        CHECK(resolve_ref(store, "layers/", "n").digest == n.digest);
    }

    TEST_CASE("input that is cut, or whose producer failed, leaves nothing at all") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        std::string blob = layer_of(100000, 9);
        for (std::size_t n : {std::size_t{0}, std::size_t{1}, blob.size() / 2, blob.size() - 1}) {
            CHECK_THROWS_AS(host.push(blob.substr(0, n)), Error);
        }
        MemorySource in(as_bytes(blob));
        auto failed = [](auto&) { throw Error(ErrorKind::data, "producer exit 7"); };
        CHECK_THROWS_AS(host.pusher({}).push(in, failed), Error);
        CHECK(host.db.pushes().empty());
        CHECK(host.spool_files() == 0);
        CHECK(store.calls["put zst"] == 0);
    }

    TEST_CASE("the newest ref is never older than those before, whatever the clock says") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        Ref future;
        future.name = "n";
        future.digest = std::string(64, 'a');
        future.created_at = now_wall() + std::chrono::hours(48);
        write_ref(store, "layers/", future);
        PushOptions o;
        o.name = "n";
        PushOutcome p = host.push(layer_of(1000, 10), o);
        CHECK(resolve_ref(store, "layers/", "n").digest == p.digest);
    }

    TEST_CASE("a name of the last millisecond that can be written is an error that names it") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        Ref last;
        last.name = "n";
        last.digest = std::string(64, 'a');
        last.created_at = *parse_key_time("99991231T235959.999Z");
        write_ref(store, "layers/", last);
        PushOptions o;
        o.name = "n";
        try {
            host.push(layer_of(1000, 16), o);
            FAIL("no error");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::data);
            CHECK(std::string(e.what()).find("99991231T235959.999Z-aaaaaaaaaaaa") !=
                  std::string::npos);
        }
        CHECK(list_refs(store, "layers/", "n").size() == 1);
        CHECK(host.spool_files() == 1);
        store.inner().remove(ref_key("layers/", last));
        CHECK(resolve_ref(store, "layers/", "n").digest == host.resume().at(0).digest);
    }

    TEST_CASE("a push that is done does not fail of an upload that may be ours") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        host.db.add_suspect({store.identity(), "layers/x", std::string(32, '0')});
        for (int kind : {0, 1}) {
            store.fault = [&](const std::string& call, bool) {
                if (call == "list_uploads" && kind == 0)
                    throw Error(ErrorKind::denied, "403");
                if (call == "list_uploads")
                    throw Interrupted();
            };
            CHECK_FALSE(host.push(layer_of(1000, 17 + static_cast<std::uint32_t>(kind))).digest.empty());
        }
        CHECK(host.db.suspects(store.identity()).size() == 1);
    }

    TEST_CASE("foreign and raw input") {
        TempDir dir;
        FaultyStore store(dir / "store");
        Host host(store, dir.path());
        std::string tar(1024, '\0');
        StringCompressor zstd(3);
        zstd.write(as_bytes(tar));
        std::string blob = zstd.finish();
        PushOptions o;
        CHECK_THROWS_AS(host.push(blob, o), Error);
        o.kind = LayerKind::foreign;
        PushOutcome p = host.push(blob, o);
        CHECK(p.digest == sha256(as_bytes(tar)).hex());
        CHECK(stored(store, p.digest) == blob);
        CHECK_THROWS_AS(host.push(blob.substr(0, blob.size() - 1), o), Error);
        StringCompressor cut(3);
        cut.write(as_bytes(tar).first(512));
        CHECK_THROWS_AS(host.push(cut.finish(), o), Error);
        o.kind = LayerKind::raw;
        o.name = "secret";
        PushOutcome r = host.push("age-encryption.org/v1 ...", o);
        CHECK(r.digest == sha256(as_bytes("age-encryption.org/v1 ...")).hex());
        CHECK(get_text(store, "layers/raw/" + r.digest) == "age-encryption.org/v1 ...");
        CHECK(resolve_ref(store, "layers/", "secret").raw);
        CHECK_THROWS_AS(host.push("", o), Error);
    }
}

TEST_SUITE("transfer/refs") {
    TEST_CASE("REF: name, name at a time, digest, prefix, latest") {
        TempDir dir;
        FaultyStore store(dir / "store");
        auto add = [&](const char* name, char c, const char* time) {
            Ref r;
            r.name = name;
            r.digest = std::string(64, c);
            r.created_at = parse_time(time);
            write_ref(store, "layers/", r);
            store.inner().put(layer_key("layers/", r.digest), MemoryBody("x"));
        };
        add("web", 'a', "2026-01-01T00:00:00Z");
        add("web", 'b', "2026-02-01T00:00:00Z");
        add("web/1", 'c', "2026-03-01T00:00:00Z");
        auto digest = [&](const std::string& ref) {
            return resolve_ref(store, "layers/", ref).digest[0];
        };
        CHECK(digest("web") == 'b'); // not web/1's
        CHECK(digest("web@2026-01-15T00:00:00Z") == 'a');
        CHECK(digest("web@2026-02-01T00:00:00Z") == 'b');
        CHECK(digest("web/1") == 'c');
        CHECK(digest("latest") == 'c');
        CHECK(digest("aaaaaaaa") == 'a');
        CHECK(digest("sha256:" + std::string(64, 'B')) == 'b');
        for (const char* absent : {"web@2025-01-01T00:00:00Z", "db", "dddddddd", "we"}) {
            try {
                digest(absent);
                FAIL(absent);
            } catch (const Error& e) {
                CHECK_MESSAGE(e.kind() == ErrorKind::not_found, absent);
            }
        }
        CHECK_THROWS_AS(digest("web@yesterday"), Error);
        CHECK_THROWS_AS(digest("sha256:zz"), Error);
    }

    TEST_CASE("a ref object that names another digest than its key is refused") {
        TempDir dir;
        FaultyStore store(dir / "store");
        store.inner().put("layers/refs/n/20260101T000000.000Z-aaaaaaaaaaaa.json",
                          MemoryBody("{\"digest\":\"" + std::string(64, 'b') + "\"}"));
        CHECK_THROWS_AS(resolve_ref(store, "layers/", "n"), Error);
    }
}
