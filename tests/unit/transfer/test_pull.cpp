#include "fixture.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/layer_meta.hpp"
#include "transfer/puller.hpp"
#include "store/range_reader.hpp"

#include <doctest/doctest.h>

using namespace zl;
using namespace zl::test;

namespace {

/// A stored layer of many entries, about @p size bytes.
struct Stored {
    explicit Stored(ObjectStore& store, std::size_t size) {
        MemorySink out;
        LayerStreamWriter writer(out, 1, 2);
        auto add = [&](TocEntry e, const std::string& header_and_data) {
            writer.begin_entry(e, header_and_data.size());
            writer.write(as_bytes(header_and_data));
            writer.end_entry(e.type == EntryType::file ? std::optional(e.sha256) : std::nullopt);
            tar += header_and_data;
        };
        add({.type = EntryType::directory, .path = "."}, std::string(512, '.'));
        add({.type = EntryType::directory, .path = "d"}, std::string(512, 'd'));
        for (std::uint32_t i = 0; tar.size() < size; ++i) {
            std::string data = noise(10240, i);
            TocEntry e{.path = "d/f" + std::to_string(i), .size = data.size()};
            e.sha256 = sha256(as_bytes(data));
            files[e.path] = data;
            add(e, std::string(512, 'h') + data);
        }
        TocEntry link{.type = EntryType::hardlink, .path = "e", .link_index = 2};
        add(link, std::string(512, 'L'));
        trailer = writer.finish({});
        digest = trailer.digest.hex();
        blob = out.text;
        put(store, blob);
    }
    void put(ObjectStore& store, const std::string& bytes) {
        store.put(layer_key("layers/", digest), MemoryBody(bytes), {});
        LayerMeta m;
        m.digest = digest;
        m.size_bytes = trailer.size_bytes;
        m.compressed_size_bytes = bytes.size();
        m.file_count = trailer.file_count;
        m.blob_sha256 = sha256(as_bytes(blob)).hex();
        put_text(store, layer_meta_key("layers/", digest), encode_layer_meta(m));
    }
    std::string tar, blob, digest;
    std::map<std::string, std::string> files;
    Trailer trailer;
};

struct Fixture {
    TempDir dir;
    FaultyStore store{dir / "store"};
    NullLog log;
    NullProgress progress;
    PullOptions options{.prefix = "layers/", .jobs = 4, .part_size = 64 << 10};
    Puller puller() { return Puller(store, options, log, progress, {}); }
};

std::string tar_of(const std::string& blob) {
    MemorySource in(as_bytes(blob));
    LayerStreamReader reader(in, {});
    std::string tar;
    std::vector<std::byte> b(100000);
    while (std::size_t n = reader.read(b))
        tar += as_text(Bytes(b.data(), n));
    reader.finish();
    return tar;
}

} // namespace

TEST_SUITE("transfer/pull") {
    TEST_CASE("gives the stored bytes, whatever the ranges") {
        Fixture f;
        Stored s(f.store, 6 << 20);
        for (std::uint64_t part :
             {std::uint64_t{64} << 10, std::uint64_t{1000003}, std::uint64_t{1} << 30})
            for (int jobs : {1, 3, 16}) {
                f.options.part_size = part;
                f.options.jobs = jobs;
                MemorySink out;
                f.puller().pull(f.puller().find("sha256:" + s.digest), out);
                CHECK(out.text == s.blob);
            }
    }

    TEST_CASE("a flipped byte anywhere is refused, and the end of the tar is held back") {
        Fixture f;
        Stored s(f.store, 3 << 20);
        std::uint64_t last = f.puller().find("sha256:" + s.digest).end->last_frame_offset();
        std::mt19937 rng(1);
        for (int i = 0; i < 60; ++i) {
            std::size_t at = i < 20 ? s.blob.size() - 1 - static_cast<std::size_t>(i) * 7
                                    : rng() % s.blob.size();
            std::string bad = s.blob;
            bad[at] = static_cast<char>(bad[at] ^ (1 << (i % 8)));
            s.put(f.store, bad);
            MemorySink out;
            INFO("byte ", at, " of ", bad.size());
            try {
                Puller p = f.puller();
                p.pull(p.find("sha256:" + s.digest), out);
                FAIL("accepted");
            } catch (const Error& e) {
                CHECK(e.kind() == ErrorKind::data);
            }
            CHECK(out.text.size() <= last);
            std::string file = f.dir / "out";
            try {
                Puller p = f.puller();
                p.pull_to_file(p.find("sha256:" + s.digest), file);
                FAIL("accepted");
            } catch (const Error& e) {
                CHECK(e.kind() == ErrorKind::data);
            }
            CHECK_FALSE(path_exists(file));
        }
    }

    TEST_CASE("what a trailer claims does not pass for the digest that was asked for") {
        Fixture f;
        Stored wanted(f.store, 3 << 20), other(f.store, 1 << 20);
        std::string forged = other.blob;
        Trailer t = other.trailer;
        const std::string honest = encode_trailer(t);
        t.digest = wanted.trailer.digest;
        forged.replace(forged.find(honest), honest.size(), encode_trailer(t));
        wanted.put(f.store, forged);
        Puller p = f.puller();
        for (const std::string& ref :
             {"sha256:" + wanted.digest, wanted.digest, wanted.digest.substr(0, 12)}) {
            PullTarget target = p.find(ref);
            REQUIRE(target.end);
            MemorySink out;
            try {
                p.pull(target, out);
                FAIL("accepted");
            } catch (const Error& e) {
                CHECK(e.kind() == ErrorKind::data);
            }
            CHECK(out.text.size() <= target.end->last_frame_offset());
            CHECK_THROWS_AS(p.pull_to_file(target, f.dir / "out"), Error);
            CHECK_FALSE(path_exists(f.dir / "out"));
        }
    }

    TEST_CASE("an object cut at its end, or replaced while it is read, is refused") {
        Fixture f;
        Stored s(f.store, 3 << 20);
        s.put(f.store, s.blob.substr(0, s.blob.size() - 1));
        CHECK_THROWS_AS(f.puller().find("sha256:" + s.digest), Error);
        s.put(f.store, s.blob);
        Puller p = f.puller();
        PullTarget t = p.find("sha256:" + s.digest);
        s.put(f.store, s.blob);
        MemorySink out;
        try {
            p.pull(t, out);
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::conflict);
        }
    }

    TEST_CASE("a layer of another tool is proved by its digest") {
        Fixture f;
        std::string tar = noise(5120, 1) + std::string(1024, '\0');
        StringCompressor z(3);
        z.write(as_bytes(tar));
        std::string blob = z.finish(), digest = sha256(as_bytes(tar)).hex();
        std::string meta =
            "{\"digest\":\"" + digest +
            "\",\"size_bytes\":6144,\"compressed_size_bytes\":" + std::to_string(blob.size()) +
            ",\"created_at\":\"2026-06-13T15:27:09.123456789Z\",\"file_count\":1}";
        put_text(f.store, layer_meta_key("layers/", digest), meta);
        f.store.inner().put(layer_key("layers/", digest), MemoryBody(blob), {});
        MemorySink out;
        Puller p = f.puller();
        p.pull(p.find(digest), out);
        CHECK(out.text == blob);
        // The metadata of one push beside the object of another, at another level.
        StringCompressor again(19);
        again.write(as_bytes(tar));
        std::string same = again.finish() + skippable_frame(5, "of another size");
        f.store.inner().put(layer_key("layers/", digest), MemoryBody(same), {});
        out.text.clear();
        p.pull(p.find(digest), out);
        CHECK(out.text == same);
        blob[blob.size() / 2] = static_cast<char>(blob[blob.size() / 2] ^ 1);
        f.store.inner().put(layer_key("layers/", digest), MemoryBody(blob), {});
        CHECK_THROWS_AS(p.pull(p.find(digest), out), Error);
    }

    TEST_CASE("-o continues: killed after any range, and with its journal cut anywhere") {
        Fixture f;
        Stored s(f.store, 1 << 20);
        std::string file = f.dir / "out", part = f.dir / ".out.zl-part",
                    journal = part + ".ranges";
        struct Killed {};
        for (int kill = 1; kill < 12; kill += 3) {
            int gets = 0;
            PullTarget t = f.puller().find(s.digest);
            f.store.fault = [&](const std::string& call, bool after) {
                if (call == "get" && !after && ++gets > kill)
                    throw Killed();
            };
            f.options.jobs = 1;
            CHECK_THROWS_AS(f.puller().pull_to_file(t, file), Killed);
            f.store.fault = [](auto&, bool) {};
            int before = f.store.calls["get"];
            f.puller().pull_to_file(t, file);
            CHECK(read_file(file) == s.blob);
            auto ranges =
                static_cast<int>((s.blob.size() + f.options.part_size - 1) / f.options.part_size);
            CHECK(f.store.calls["get"] - before == ranges - kill);
            CHECK_FALSE(path_exists(part));
            CHECK_FALSE(path_exists(journal));
        }
        // Every cut of a journal, over a part file of zeros: whatever it claims, the result is
        // right.
        PullTarget t = f.puller().find(s.digest);
        int gets = 0;
        f.store.fault = [&](const std::string& call, bool after) {
            if (call == "get" && !after && ++gets > 14)
                throw Killed();
        };
        CHECK_THROWS_AS(f.puller().pull_to_file(t, file), Killed);
        f.store.fault = [](auto&, bool) {};
        std::string whole = *read_file(journal), data = *read_file(part);
        for (std::size_t n = 0; n <= whole.size(); n += 3) {
            AtomicFile j(journal), d(part);
            j.write(std::string_view(whole).substr(0, n));
            j.commit();
            d.write(n % 2 ? data : std::string(data.size(), '\0'));
            d.commit();
            f.puller().pull_to_file(t, file);
            CHECK(read_file(file) == s.blob);
        }
    }

    TEST_CASE("--path fetches a file, a subtree, a link with its data, and little else") {
        Fixture f;
        Stored s(f.store, 24 << 20);
        Puller p = f.puller();
        PullTarget t = p.find(s.digest);
        MemorySink out;
        PullOutcome one = p.pull_paths(t, {"./d/f7"}, out);
        CHECK(tar_of(out.text) == std::string(512, '.') + std::string(512, 'd') +
                                      std::string(512, 'h') + s.files["d/f7"] +
                                      std::string(1024, '\0'));
        CHECK(one.bytes < s.blob.size() / 2);
        out.text.clear();
        p.pull_paths(t, {"e"}, out);
        CHECK(tar_of(out.text) == std::string(512, '.') + std::string(512, 'd') +
                                      std::string(512, 'h') + s.files["d/f0"] +
                                      std::string(512, 'L') + std::string(1024, '\0'));
        out.text.clear();
        p.pull_paths(t, {"/"}, out);
        CHECK(tar_of(out.text) == s.tar + std::string(1024, '\0'));
        try {
            p.pull_paths(t, {"d/f7", "nope"}, out);
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::not_found);
        }
    }
}
