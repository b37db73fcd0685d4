#include "../temp_dir.hpp"
#include "base/endian.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "store/open_store.hpp"
#include "stream/zstd_stream.hpp"
#include "wal/header_json.hpp"
#include "wal/page_hash.hpp"
#include "wal/replica_head.hpp"
#include "wal/replica_keys.hpp"
#include "wal/replica_metadata.hpp"
#include "wal/segment.hpp"
#include "wal/snapshot.hpp"
#include "wal/snapshot_header.hpp"
#include "wal/wal_format.hpp"

#include <doctest/doctest.h>
#include <sqlite3.h>

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>

using namespace zl;

namespace {

using test::TempDir;

void write_text(const std::string& path, std::string_view text) {
    UniqueFd fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
    write_full(fd.get(), as_bytes(text), path);
}

std::string text_of(const std::string& path) {
    return read_file(path, 1 << 30).value();
}

/// One SQLite connection that closes without a checkpoint.
class Sql {
public:
    explicit Sql(const std::string& path) {
        REQUIRE(sqlite3_open(path.c_str(), &db_) == SQLITE_OK);
        sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    }
    Sql(const Sql&) = delete;
    Sql& operator=(const Sql&) = delete;
    ~Sql() { sqlite3_close(db_); }

    /// The last column of the last row, as text.
    std::string run(const std::string& sql) {
        std::string last;
        char* error = nullptr;
        auto keep = [](void* out, int n, char** values, char**) {
            *static_cast<std::string*>(out) = values[n - 1] ? values[n - 1] : "NULL";
            return 0;
        };
        int code = sqlite3_exec(db_, sql.c_str(), keep, &last, &error);
        INFO(sql << ": " << (error ? error : ""));
        sqlite3_free(error);
        REQUIRE(code == SQLITE_OK);
        return last;
    }

private:
    sqlite3* db_ = nullptr;
};

ErrorKind kind_of(const std::function<void()>& action, std::string* hint = nullptr) {
    try {
        action();
    } catch (const Error& e) {
        if (hint)
            *hint = e.hint();
        return e.kind();
    }
    FAIL_CHECK("no error");
    return ErrorKind::internal;
}

std::vector<std::byte> pattern_page(std::uint32_t page_size, std::uint32_t page, unsigned seed) {
    std::mt19937_64 random(seed * 1000003U + page);
    std::vector<std::byte> data(page_size);
    // Half random, half zeros: like a page in use.
    for (std::size_t i = 0; i < data.size() / 2; ++i)
        data[i] = static_cast<std::byte>(random());
    return data;
}

SegmentHeader example_header() {
    SegmentHeader h;
    h.db_id = "0011223344556677";
    h.generation = "8899aabbccddeeff";
    h.writer = "0123456789abcdef";
    h.host = "web1";
    h.sequence = h.first_sequence = 7;
    h.time = h.first_time = parse_time("2026-11-22T06:00:00.123Z");
    h.page_size = 512;
    h.prev = sha256(as_bytes("prev"));
    h.checksum_before = 0x0123456789abcdefULL;
    h.checksum_after = 0xfedcba9876543210ULL;
    return h;
}

using Pages = std::map<std::uint32_t, std::vector<std::byte>>;

struct MadeSegment {
    SegmentHeader header;
    std::string bytes;
};

MadeSegment make_segment(const TempDir& dir, std::uint32_t page_size, const Pages& pages,
                         std::uint32_t page_count, SegmentHeader header = example_header()) {
    std::string path = dir / "made";
    UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
    SegmentWriter writer(fd.get(), path, page_size, header.sequence);
    for (const auto& [page, data] : pages)
        writer.page(page, data);
    header.page_count = page_count;
    std::uint64_t size = writer.finish(header);
    std::string bytes = text_of(path);
    CHECK(bytes.size() == size);
    return {header, bytes};
}

Pages read_pages(const SegmentHeader& header, std::string_view body) {
    Pages pages;
    MemorySource source(as_bytes(body));
    read_segment(header, source, "test", [&](std::uint32_t page, Bytes data) {
        pages[page].assign(data.begin(), data.end());
    });
    return pages;
}

std::string body_of(const std::string& bytes) {
    return bytes.substr(kSegmentHeaderSize);
}

/// What `zstd -d` gives.
std::string unzstd(std::string_view bytes) {
    StreamDecompressor zstd;
    MemorySink out;
    zstd.write(as_bytes(bytes), out);
    CHECK(zstd.at_frame_end());
    return out.text;
}

SegmentHeader verify(const TempDir& dir, std::string_view bytes) {
    std::string path = dir / "verify";
    write_text(path, bytes);
    UniqueFd fd = open_file(path, O_RDONLY);
    SegmentHeader h = verify_segment_file(fd.get(), "test");
    read_pages(h, bytes.substr(kSegmentHeaderSize));
    return h;
}

} // namespace

TEST_SUITE("wal/format") {

    TEST_CASE("page sizes and the lock page") {
        std::vector<std::uint32_t> good;
        for (std::uint32_t n = 0; n <= 140000; ++n)
            if (valid_page_size(n))
                good.push_back(n);
        CHECK(good == std::vector<std::uint32_t>{512, 1024, 2048, 4096, 8192, 16384, 32768, 65536});
        CHECK_FALSE(valid_page_size(0x80000000U));
        CHECK(lock_page(4096) == 262145);
        CHECK(lock_page(65536) == 16385);
        CHECK(wal_frame_offset(1, 65536) == 32);
        CHECK(wal_frame_offset(100001, 65536) == 32 + 100000ULL * 65560);
    }

    TEST_CASE("a WAL written by sqlite3 has the chain that we compute") {
        for (std::uint32_t page_size : {512U, 4096U, 65536U}) {
            TempDir dir;
            Sql sql(dir / "a.db");
            sql.run("PRAGMA page_size=" + std::to_string(page_size) +
                    "; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;"
                    "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(100000));"
                    "UPDATE t SET x=randomblob(90000)");
            std::string wal = text_of(dir / "a.db-wal");
            auto header = parse_wal_header(as_bytes(wal));
            REQUIRE(header);
            CHECK(header->page_size == page_size);
            WalChecksum chain = header->checksum;
            std::uint64_t frames = 0, commits = 0;
            for (std::uint64_t n = 1; wal_frame_offset(n + 1, page_size) <= wal.size(); ++n) {
                Bytes frame = as_bytes(wal).subspan(wal_frame_offset(n, page_size));
                WalFrame f = parse_wal_frame(frame);
                chain_frame(chain, frame, frame.subspan(kWalFrameHeaderSize, page_size),
                            header->big_endian);
                CHECK(f.salt == header->salt);
                REQUIRE(f.checksum == chain);
                commits += f.commit != 0;
                ++frames;
            }
            CHECK(commits == 3);
            CHECK(wal_frame_offset(frames + 1, page_size) == wal.size());
        }
    }

    TEST_CASE("checksums in big endian are taken too") {
        // Made by hand as the format says: sums over the first 24 bytes, as big-endian words.
        auto header = [](std::uint32_t version) {
            const std::uint32_t words[] = {0x377f0683, version, 1024, 3, 0x01020304, 0xfffffff0};
            std::uint32_t s1 = 0, s2 = 0;
            for (int i = 0; i < 6; i += 2) {
                s1 += words[i] + s2;
                s2 += words[i + 1] + s1;
            }
            std::string h;
            for (std::uint32_t w :
                 {words[0], words[1], words[2], words[3], words[4], words[5], s1, s2})
                for (int shift = 24; shift >= 0; shift -= 8)
                    h += static_cast<char>(w >> shift);
            return h;
        };
        auto h = parse_wal_header(as_bytes(header(3007000)));
        REQUIRE(h);
        CHECK(h->big_endian);
        CHECK(h->page_size == 1024);
        CHECK(h->salt == WalSalt{0x01020304, 0xfffffff0});
        CHECK_FALSE(parse_wal_header(as_bytes(header(3007001))));
    }

    TEST_CASE("a torn or foreign WAL header is no WAL") {
        MemorySink out;
        WalBuilder(out, 4096, {0xdeadbeef, 0x01020304}, 9);
        REQUIRE(out.text.size() == kWalHeaderSize);
        auto good = parse_wal_header(as_bytes(out.text));
        REQUIRE(good);
        CHECK(good->salt == WalSalt{0xdeadbeef, 0x01020304});
        CHECK(good->checkpoint_sequence == 9);
        for (std::size_t n = 0; n < kWalHeaderSize; ++n)
            CHECK_FALSE(parse_wal_header(as_bytes(out.text).first(n)));
        for (std::size_t i = 0; i < kWalHeaderSize; ++i) {
            std::string bad = out.text;
            bad[i] = static_cast<char>(bad[i] ^ 0x10);
            CHECK_FALSE(parse_wal_header(as_bytes(bad)));
        }
    }

    TEST_CASE("XXH64 vectors: the specification's algorithm, seeded with the page number") {
        // Published with the xxHash sources: XXH64("", 0), and of 14 bytes of its sanity buffer.
        CHECK(page_hash(0, {}) == 0xEF46DB3751D8E999ULL);
        std::string buffer;
        std::uint64_t generator = 2654435761U; // xxhsum's sanity buffer
        for (int i = 0; i < 222; ++i) {
            buffer += static_cast<char>(generator >> 56);
            generator *= 11400714785074694797ULL;
        }
        const std::uint32_t prime = 2654435761U;
        CHECK(page_hash(prime, {}) == 0xAC75FDA2929B17EFULL);
        CHECK(page_hash(0, as_bytes(buffer).first(1)) == 0xE934A84ADB052768ULL);
        CHECK(page_hash(prime, as_bytes(buffer).first(1)) == 0x5014607643A9B4C3ULL);
        CHECK(page_hash(0, as_bytes(buffer).first(14)) == 0x8282DCC4994E35C8ULL);
        CHECK(page_hash(prime, as_bytes(buffer).first(14)) == 0xC3BD6BF63DEB6DF0ULL);
        CHECK(page_hash(0, as_bytes(buffer).first(222)) == 0xB641AE8CB691C174ULL);
        CHECK(page_hash(prime, as_bytes(buffer).first(222)) == 0x20CB8AB7AE10C14AULL);
        auto page = pattern_page(512, 1, 1);
        CHECK(page_hash(1, page) != page_hash(2, page));
    }

} // TEST_SUITE

TEST_SUITE("wal/replica_keys") {

    TEST_CASE("names become prefixes, bad names are usage errors") {
        CHECK(ReplicaKeys::of_name("app").prefix() == "db/app/");
        CHECK(ReplicaKeys::of_name("shop/db-1.x_Y").prefix() == "db/shop/db-1.x_Y/");
        CHECK(ReplicaKeys::of_name("abc1234").prefix() == "db/abc1234/");
        // The rules are of store/name; that of databases is the stricter one.
        CHECK(kind_of([] { ReplicaKeys::of_name("../a"); }) == ErrorKind::usage);
        CHECK(kind_of([] { ReplicaKeys::of_name("x/merged/y"); }) == ErrorKind::usage);
    }

    TEST_CASE("keys parse back; other things do not") {
        ReplicaKeys keys("db/app/");
        CHECK(keys.metadata() == "db/app/metadata.json");
        CHECK(keys.segment(42) == "db/app/wal/00000000000000000042.wal.zst");
        CHECK(keys.merged({1, 64}) ==
              "db/app/merged/00000000000000000001-00000000000000000064.wal.zst");
        TimePoint t = parse_time("2026-11-22T06:00:00.123Z");
        CHECK(keys.snapshot(t) == "db/app/snapshots/20261122T060000.123Z.sqlite.zst");

        CHECK(keys.parse_snapshot(keys.snapshot(t)) == t);
        CHECK(keys.parse_snapshot("db/app/snapshots/20261122_060000.sqlite.zst") ==
              parse_time("2026-11-22T06:00:00Z"));
        for (std::uint64_t n : {std::uint64_t{1}, std::uint64_t{42}, ~std::uint64_t{0}})
            CHECK(keys.parse_segment(keys.segment(n)) == n);
        CHECK(keys.parse_merged(keys.merged({7, 7})) == SequenceRange{7, 7});
        CHECK(keys.parse_merged(keys.merged({7, ~std::uint64_t{0}})) ==
              SequenceRange{7, ~std::uint64_t{0}});

        for (const char* bad :
             {"db/app/wal/00000000000000000000.wal.zst", "db/app/wal/99999999999999999999.wal.zst",
              "db/app/wal/0000000000000000042.wal.zst", "db/app/wal/000000000000000000042.wal.zst",
              "db/app/wal/+0000000000000000042.wal.zst",
              "db/app/wal/00000000000000000042.wal.zst.tmp", "db/app/wal/.wal.zst", "db/app/wal/",
              "db/app/wal.zst", "", "db/apx/wal/00000000000000000042.wal.zst",
              "db/app/wal/wal/00000000000000000042.wal.zst"}) {
            CAPTURE(bad);
            CHECK_FALSE(keys.parse_segment(bad));
        }
        CHECK_FALSE(keys.parse_merged(keys.merged({8, 7})));
        CHECK_FALSE(keys.parse_merged(keys.merged({0, 7})));
        CHECK_FALSE(
            keys.parse_merged("db/app/merged/00000000000000000001_00000000000000000064.wal.zst"));
        CHECK_FALSE(keys.parse_merged(keys.segment(3)));
        CHECK_FALSE(keys.parse_snapshot("db/app/snapshots/x/20261122T060000.123Z.sqlite.zst"));
        CHECK_FALSE(keys.parse_snapshot("db/app/snapshots/20261322T060000.123Z.sqlite.zst"));
        CHECK_FALSE(keys.parse_snapshot("db/app/snapshots/.sqlite.zst"));
    }

} // TEST_SUITE

TEST_SUITE("wal/segment") {

    TEST_CASE("the header is 1024 bytes and comes back whole, whatever it holds") {
        SegmentHeader h = example_header();
        h.page_count = 100;
        h.frames = 10;
        h.body_size = 5000;
        h.body_sha256 = sha256(as_bytes("body"));
        auto check = [](const SegmentHeader& in) {
            std::string frame = encode_segment_header(in);
            REQUIRE(frame.size() == kSegmentHeaderSize);
            SegmentHeader out = decode_segment_header(as_bytes(frame), "test");
            CHECK(out.id() == in.id());
            CHECK(encode_segment_header(out) == frame);
            return out;
        };
        SegmentHeader single = check(h);
        CHECK(single.kind == SegmentKind::segment);
        CHECK(single.host == "web1");
        CHECK(single.first_sequence == 7);
        CHECK(single.time == h.time);
        CHECK(single.first_time == h.time);
        CHECK(single.prev == h.prev);
        CHECK(single.checksum_before == h.checksum_before);
        CHECK(single.checksum_after == h.checksum_after);
        CHECK(single.body_sha256 == h.body_sha256);
        CHECK_FALSE(single.gap_from);

        SegmentHeader merged = h;
        merged.kind = SegmentKind::merged;
        merged.first_sequence = 3;
        merged.first_time = h.time - Millis(5000);
        merged.last = sha256(as_bytes("last"));
        merged.resync = "a \"quoted\\ text\n";
        merged.gap_from = h.time - Millis(7000);
        SegmentHeader out = check(merged);
        CHECK(out.first_sequence == 3);
        CHECK(out.first_time == merged.first_time);
        CHECK(out.last == merged.last);
        CHECK(out.resync == "a ?quoted? text?");
        CHECK(out.gap_from == merged.gap_from);

        SegmentHeader claim = h;
        claim.kind = SegmentKind::claim;
        claim.frames = 0;
        claim.parent = "fedcba9876543210";
        claim.fork_sequence = 6;
        out = check(claim);
        CHECK(out.parent == claim.parent);
        CHECK(out.fork_sequence == 6);
    }

    TEST_CASE("the longest header fits") {
        SegmentHeader h = example_header();
        h.host = std::string(500, '\xff');
        h.resync = std::string(500, '"');
        h.kind = SegmentKind::merged;
        h.first_sequence = ~std::uint64_t{0} - 1;
        h.sequence = ~std::uint64_t{0};
        h.page_size = 65536;
        h.page_count = 4294967294U;
        h.frames = 4294967293U;
        h.body_size = ~std::uint64_t{0};
        h.gap_from = h.time;
        CHECK(encode_segment_header(h).size() == kSegmentHeaderSize);
        h.kind = SegmentKind::claim;
        h.parent = "fedcba9876543210";
        h.fork_sequence = ~std::uint64_t{0} - 1;
        CHECK(encode_segment_header(h).size() == kSegmentHeaderSize);
    }

    TEST_CASE("impossible values in a header with a true checksum are refused") {
        SegmentHeader good = example_header();
        good.page_count = 100;
        good.frames = 10;
        good.body_size = 50;
        auto refused = [&](const std::function<void(SegmentHeader&)>& change) {
            SegmentHeader h = good;
            change(h);
            return kind_of(
                [&] { decode_segment_header(as_bytes(encode_segment_header(h)), "test"); });
        };
        CHECK(refused([](auto& h) { h.sequence = 0; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.page_size = 1000; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.page_size = 131072; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.page_count = 4294967295U; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.frames = 101; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.kind = SegmentKind::claim; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.body_size = 0; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.db_id = "XX"; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.parent = "fedcba9876543210"; }) == ErrorKind::data);
        CHECK(refused([](auto& h) { h.gap_from = h.time + Millis(1); }) == ErrorKind::data);
        CHECK(refused([](auto& h) {
                  h.kind = SegmentKind::merged;
                  h.first_sequence = 8;
              }) == ErrorKind::data);
    }

    /// A header frame around @p line with a true checksum.
    std::string header_frame(const std::string& line) {
        return skippable_frame(kSegmentVariant,
                               sealed(line, kSegmentHeaderSize - 8 - kSealSize - line.size()));
    }

    TEST_CASE("a header of a later format, or in another form, is refused") {
        SegmentHeader h = example_header();
        h.page_count = 1;
        h.body_size = 5;
        std::string line = *unsealed(std::string_view(encode_segment_header(h)).substr(8));
        CHECK(decode_segment_header(as_bytes(header_frame(line)), "test").sequence == 7);
        std::string later = line;
        later.replace(later.find("\"zl_segment\":1"), 14, "\"zl_segment\":2");
        std::string hint;
        CHECK(kind_of([&] { decode_segment_header(as_bytes(header_frame(later)), "t"); }, &hint) ==
              ErrorKind::data);
        CHECK(hint.find("newer zl") != std::string::npos);
        std::string spaced = line;
        spaced.replace(spaced.find(','), 1, ", ");
        CHECK(kind_of([&] { decode_segment_header(as_bytes(header_frame(spaced)), "t"); }) ==
              ErrorKind::data);
        CHECK(kind_of([&] { decode_segment_header(as_bytes(header_frame("[]")), "t"); }) ==
              ErrorKind::data);
        CHECK(kind_of([&] { decode_segment_header(as_bytes(header_frame("{")), "t"); }) ==
              ErrorKind::data);
    }

    TEST_CASE("a segment of zlayer-storage is named as such") {
        TempDir dir;
        FrameCompressor zstd(3);
        std::vector<std::byte> frame;
        zstd.compress(as_bytes(std::string(5000, 'x')), frame);
        std::string hint;
        CHECK(kind_of([&] { decode_segment_header(frame, "t"); }, &hint) == ErrorKind::data);
        CHECK(hint.find("zlayer-storage") != std::string::npos);
        CHECK(kind_of([&] { decode_segment_header({}, "t"); }, &hint) == ErrorKind::data);
        CHECK(hint.empty());
    }

    TEST_CASE("segments of every page size come back, and sqlite3's WAL rules hold") {
        TempDir dir;
        for (std::uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
            CAPTURE(page_size);
            Pages pages;
            for (std::uint32_t page = 1; page < 400; page += 1 + page % 5)
                pages[page] = pattern_page(page_size, page, page_size);
            pages[lock_page(page_size) + 1] = pattern_page(page_size, 3, 3);
            MadeSegment made = make_segment(dir, page_size, pages, lock_page(page_size) + 9);
            CHECK(made.header.frames == pages.size());
            SegmentHeader h = verify(dir, made.bytes);
            CHECK(h.id() == made.header.id());
            CHECK(read_pages(h, body_of(made.bytes)) == pages);
            std::string wal = unzstd(made.bytes);
            CHECK(wal.size() == wal_frame_offset(pages.size() + 1, page_size));
            CHECK(parse_wal_header(as_bytes(wal)));
            CHECK(made.bytes ==
                  make_segment(dir, page_size, pages, lock_page(page_size) + 9).bytes);
        }
    }

    TEST_CASE("a claim and a segment without pages hold a WAL header only") {
        TempDir dir;
        SegmentHeader h = example_header();
        h.kind = SegmentKind::claim;
        MadeSegment made = make_segment(dir, 4096, {}, 17, h);
        CHECK(made.header.frames == 0);
        CHECK(unzstd(made.bytes).size() == kWalHeaderSize);
        CHECK(read_pages(verify(dir, made.bytes), body_of(made.bytes)).empty());
        CHECK(verify(dir, made.bytes).page_count == 17);
        CHECK(verify(dir, make_segment(dir, 512, {}, 0).bytes).page_count == 0);
    }

    TEST_CASE("two segments have different salts") {
        TempDir dir;
        SegmentHeader other = example_header();
        other.sequence = 8;
        auto salt = [](const MadeSegment& m) {
            return parse_wal_header(as_bytes(unzstd(m.bytes)))->salt;
        };
        CHECK_FALSE(salt(make_segment(dir, 512, {}, 1)) ==
                    salt(make_segment(dir, 512, {}, 1, other)));
    }

    TEST_CASE("the writer refuses what must not come") {
        TempDir dir;
        UniqueFd fd = open_file(dir / "w", O_RDWR | O_CREAT);
        SegmentWriter w(fd.get(), "w", 512, 1);
        auto page = pattern_page(512, 1, 1);
        w.page(5, page);
        CHECK(kind_of([&] { w.page(5, page); }) == ErrorKind::internal);
        CHECK(kind_of([&] { w.page(4, page); }) == ErrorKind::internal);
        CHECK(kind_of([&] { w.page(lock_page(512), page); }) == ErrorKind::internal);
        CHECK(kind_of([&] { w.page(6, Bytes(page).first(511)); }) == ErrorKind::internal);
        SegmentHeader h = example_header();
        h.page_count = 4;
        CHECK(kind_of([&] { w.finish(h); }) == ErrorKind::internal);
    }

    TEST_CASE("every flipped byte and every cut of a segment is refused") {
        TempDir dir;
        Pages pages{{1, pattern_page(512, 1, 1)}, {3, pattern_page(512, 3, 1)}};
        MadeSegment made = make_segment(dir, 512, pages, 4);
        verify(dir, made.bytes);
        for (std::size_t i = 0; i < made.bytes.size(); ++i) {
            std::string bad = made.bytes;
            bad[i] = static_cast<char>(bad[i] ^ 1);
            CAPTURE(i);
            CHECK(kind_of([&] { verify(dir, bad); }) == ErrorKind::data);
        }
        for (std::size_t n = 0; n < made.bytes.size(); ++n) {
            CAPTURE(n);
            CHECK(kind_of([&] { verify(dir, made.bytes.substr(0, n)); }) == ErrorKind::data);
        }
        CHECK(kind_of([&] { verify(dir, made.bytes + "x"); }) == ErrorKind::data);
    }

    TEST_CASE("a body that does not keep its header's word is refused, without its SHA-256 too") {
        TempDir dir;
        Pages pages{{1, pattern_page(512, 1, 1)}, {3, pattern_page(512, 3, 1)}};
        MadeSegment made = make_segment(dir, 512, pages, 4);
        std::string body = body_of(made.bytes);
        auto refused = [&](const std::function<void(SegmentHeader&, std::string&)>& change) {
            SegmentHeader h = made.header;
            std::string b = body;
            change(h, b);
            return kind_of([&] { read_pages(h, b); });
        };
        CHECK(refused([](auto& h, auto&) { h.frames = 1; }) == ErrorKind::data);
        CHECK(refused([](auto& h, auto&) { h.frames = 3; }) == ErrorKind::data);
        CHECK(refused([](auto& h, auto&) { h.frames = 0; }) == ErrorKind::data);
        CHECK(refused([](auto& h, auto&) { h.page_count = 2; }) == ErrorKind::data);
        CHECK(refused([](auto& h, auto&) { h.page_count = 5; }) == ErrorKind::data);
        CHECK(refused([](auto& h, auto&) { h.page_size = 1024; }) == ErrorKind::data);
        CHECK(refused([](auto& h, auto&) { h.body_size += 1; }) == ErrorKind::data);
        // No frame whose checksum would tell.
        CHECK(refused([&](auto& h, auto& b) {
                  MadeSegment empty = make_segment(dir, 512, {}, 1);
                  h = empty.header;
                  b = body_of(empty.bytes);
                  h.page_size = 1024;
              }) == ErrorKind::data);
        CHECK(refused([](auto& h, auto&) { h.body_size -= 1; }) == ErrorKind::data);
        CHECK(refused([](auto& h, auto& b) {
                  b += skippable_frame(5, "x");
                  (void)h;
              }) == ErrorKind::data);
        for (std::size_t n = 0; n < body.size(); ++n)
            CHECK(refused([&](auto& h, auto& b) {
                      b.resize(n);
                      h.body_size = n;
                  }) == ErrorKind::data);
        // Each byte of the WAL itself, compressed anew.
        std::string wal = unzstd(made.bytes);
        FrameCompressor zstd(1);
        std::vector<std::byte> frame;
        auto with_wal = [&](const std::string& changed) {
            return [&](SegmentHeader& h, std::string& b) {
                zstd.compress(as_bytes(changed), frame);
                b = as_text(frame);
                h.body_size = b.size();
            };
        };
        for (std::size_t i = 0; i < wal.size(); ++i) {
            std::string bad = wal;
            bad[i] = static_cast<char>(bad[i] ^ 0x40);
            CAPTURE(i);
            CHECK(refused(with_wal(bad)) == ErrorKind::data);
        }
        CHECK(refused(with_wal(wal + "x")) == ErrorKind::data);
        CHECK(refused(with_wal(wal + std::string(536, '\0'))) == ErrorKind::data);
    }

    /// A segment's body made by hand, with frames in any order.
    std::string raw_body(std::uint32_t page_size,
                         const std::vector<std::pair<std::uint32_t, std::uint32_t>>& frames) {
        MemorySink out;
        WalBuilder wal(out, page_size, {1, 2}, 1);
        for (auto [page, commit] : frames)
            wal.frame(page, commit, pattern_page(page_size, page, 1));
        FrameCompressor zstd(1);
        std::vector<std::byte> frame;
        zstd.compress(as_bytes(out.text), frame);
        return std::string(as_text(frame));
    }

    TEST_CASE("a valid WAL that breaks the rules of segments is refused") {
        auto outcome = [&](const std::vector<std::pair<std::uint32_t, std::uint32_t>>& frames,
                           std::uint32_t count) -> std::string {
            SegmentHeader h = example_header();
            h.page_size = 65536;
            h.page_count = count;
            h.frames = frames.size();
            std::string body = raw_body(h.page_size, frames);
            h.body_size = body.size();
            try {
                read_pages(h, body);
                return "ok";
            } catch (const Error& e) {
                return e.what();
            }
        };
        auto has = [](const std::string& text, const char* part) {
            return text.find(part) != std::string::npos;
        };
        std::uint32_t lock = lock_page(65536);
        CHECK(outcome({{1, 0}, {lock + 1, lock + 1}}, lock + 1) == "ok");
        CHECK(has(outcome({{1, 0}, {lock, lock + 1}}, lock + 1), "page 16385 after page 1"));
        CHECK(has(outcome({{2, 0}, {2, 9}}, 9), "page 2 after page 2"));
        CHECK(has(outcome({{2, 0}, {1, 9}}, 9), "page 1 after page 2"));
        CHECK(has(outcome({{2, 9}, {3, 9}}, 9), "commit of 9"));
        CHECK(has(outcome({{2, 0}, {3, 0}}, 9), "commit of 0"));
        CHECK(has(outcome({{2, 0}, {3, 8}}, 9), "commit of 8"));
        CHECK(has(outcome({{2, 0}, {10, 9}}, 9), "page 10 after page 2, of 9"));
    }

    TEST_CASE("sqlite3 applies a segment to the database before it") {
        for (std::uint32_t page_size : {512U, 4096U, 65536U}) {
            CAPTURE(page_size);
            TempDir dir;
            std::string db = dir / "a.db";
            {
                Sql sql(db);
                sql.run("PRAGMA page_size=" + std::to_string(page_size) +
                        "; PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x);"
                        "INSERT INTO t VALUES(1, randomblob(300000));"
                        "PRAGMA wal_checkpoint(TRUNCATE)");
            }
            std::string before = text_of(db);
            {
                Sql sql(db);
                sql.run(
                    "INSERT INTO t VALUES(2, randomblob(200000)); UPDATE t SET x='new' WHERE id=1;"
                    "PRAGMA wal_checkpoint(TRUNCATE)");
            }
            std::string after = text_of(db);
            Pages changed;
            for (std::uint32_t page = 1; page * std::size_t{page_size} <= after.size(); ++page) {
                std::string now = after.substr((page - 1) * std::size_t{page_size}, page_size);
                std::size_t at = (page - 1) * std::size_t{page_size};
                if (at >= before.size() || before.compare(at, page_size, now) != 0) {
                    Bytes b = as_bytes(now);
                    changed[page].assign(b.begin(), b.end());
                }
            }
            MadeSegment made = make_segment(dir, page_size, changed,
                                            static_cast<std::uint32_t>(after.size() / page_size));
            std::string copy = dir / "b.db";
            write_text(copy, before);
            write_text(copy + "-wal", unzstd(made.bytes));
            {
                Sql sql(copy);
                CHECK(sql.run("SELECT count(*) FROM t") == "2");
                CHECK(sql.run("PRAGMA integrity_check") == "ok");
                sql.run("PRAGMA wal_checkpoint(TRUNCATE)");
            }
            CHECK(text_of(copy) == after);
        }
    }

} // TEST_SUITE

namespace {

class MemoryPages final : public PageSource {
public:
    MemoryPages(std::string data, std::uint32_t page_size)
        : data_(std::move(data)), page_size_(page_size) {}
    std::uint32_t page_size() const override { return page_size_; }
    std::uint32_t page_count() const override {
        return static_cast<std::uint32_t>(data_.size() / page_size_);
    }
    void read(std::uint32_t first, std::span<std::byte> out) override {
        std::size_t at = (first - 1) * std::size_t{page_size_};
        REQUIRE(at + out.size() <= data_.size());
        REQUIRE(out.size() <= kSnapshotFrameSize);
        if (first >= fail_at)
            throw Error(ErrorKind::io, "disk is gone");
        Bytes all = as_bytes(data_);
        std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
    }
    std::uint32_t fail_at = ~std::uint32_t{0};

private:
    std::string data_;
    std::uint32_t page_size_;
};

SnapshotHeader example_snapshot() {
    SnapshotHeader h;
    h.db_id = "0011223344556677";
    h.generation = "8899aabbccddeeff";
    h.writer = "0123456789abcdef";
    h.host = "web1";
    h.sequence = 12;
    h.chain = sha256(as_bytes("chain"));
    h.time = parse_time("2026-11-22T06:00:00Z");
    h.created_at = parse_time("2026-11-22T06:00:01.5Z");
    return h;
}

std::string pages_text(std::uint32_t page_size, std::uint32_t count) {
    std::string text;
    for (std::uint32_t page = 1; page <= count; ++page)
        text += as_text(pattern_page(page_size, page, 5));
    return text;
}

SnapshotIndex index_of(const std::string& bytes, int* reads = nullptr) {
    return read_snapshot_index(bytes.size(), "test", [&](std::uint64_t offset, std::uint64_t n) {
        REQUIRE(offset + n <= bytes.size());
        if (reads)
            ++*reads;
        return bytes.substr(offset, n);
    });
}

} // namespace

TEST_SUITE("wal/snapshot") {

    TEST_CASE("zstd -d of a snapshot is the database; every page size, short last frame") {
        for (std::uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
            CAPTURE(page_size);
            auto count = static_cast<std::uint32_t>(5 * kSnapshotFrameSize / 2 / page_size) + 1;
            std::string source = pages_text(page_size, count);
            MemoryPages pages(source, page_size);
            SnapshotHeader header = example_snapshot();
            MemorySink out;
            std::map<std::uint32_t, std::uint64_t> hashes;
            std::uint32_t next = 1;
            write_snapshot(pages, header, out, 3, 2, [&](std::uint32_t first, const auto& list) {
                CHECK(first == next);
                for (std::uint64_t h : list)
                    hashes[next++] = h;
            });
            CHECK(unzstd(out.text) == source);
            std::uint64_t sum = 0;
            for (std::uint32_t page = 1; page <= count; ++page) {
                Bytes data =
                    as_bytes(source).subspan((page - 1) * std::size_t{page_size}, page_size);
                CHECK(hashes.at(page) == page_hash(page, data));
                sum += page_hash(page, data);
            }
            CHECK(hashes.size() == count);
            CHECK(header.checksum == sum);

            int reads = 0;
            SnapshotIndex index = index_of(out.text, &reads);
            CHECK(reads == 1);
            CHECK(index.header.checksum == sum);
            CHECK(index.header.page_count == count);
            CHECK(index.header.page_size == page_size);
            CHECK(index.header.sequence == 12);
            CHECK(index.header.chain == header.chain);
            CHECK(index.header.created_at == header.created_at);
            CHECK(index.header.body_sha256 ==
                  sha256(as_bytes(out.text).first(index.header.body_size)));
            // Any frame alone, by its place in the table.
            REQUIRE(index.frames.size() == 3);
            std::size_t at = 0, content = 0;
            FrameDecompressor zstd;
            std::vector<std::byte> data;
            for (const SeekEntry& f : index.frames) {
                zstd.decompress(as_bytes(out.text).subspan(at, f.compressed_size), f.content_size,
                                data);
                CHECK(as_text(data) == source.substr(content, f.content_size));
                at += f.compressed_size;
                content += f.content_size;
            }
            CHECK(at == index.header.body_size);
            CHECK(content == source.size());
        }
    }

    TEST_CASE("the bytes do not depend on the number of threads") {
        std::string source = pages_text(4096, 2000);
        std::string first;
        for (int threads : {0, 1, 2, 3, 8}) {
            MemoryPages pages(source, 4096);
            SnapshotHeader header = example_snapshot();
            MemorySink out;
            write_snapshot(pages, header, out, 3, threads);
            if (first.empty())
                first = out.text;
            CHECK(out.text == first);
        }
    }

    /// A sparse database that reaches past the lock page, with something where no data may be.
    class HugePages final : public PageSource {
    public:
        std::uint32_t page_size() const override { return 65536; }
        std::uint32_t page_count() const override { return lock_page(65536) + 3; }
        void read(std::uint32_t first, std::span<std::byte> out) override {
            std::fill(out.begin(), out.end(), std::byte{0});
            for (std::size_t i = 0; i < out.size() / 65536; ++i)
                if (first + i >= lock_page(65536))
                    out[i * 65536] = std::byte{7};
        }
    };

    TEST_CASE("the lock page is zeros and has no hash") {
        HugePages pages;
        SnapshotHeader header = example_snapshot();
        std::string end;
        std::uint64_t size = 0, lock_hash = 1, after_hash = 0;
        MemorySink tail;
        FunctionSink out([&](Bytes b) {
            size += b.size();
            end += as_text(b);
        });
        write_snapshot(pages, header, out, 1, 2, [&](std::uint32_t first, const auto& list) {
            for (std::size_t i = 0; i < list.size(); ++i) {
                if (first + i == lock_page(65536))
                    lock_hash = list[i];
                if (first + i == lock_page(65536) + 1)
                    after_hash = list[i];
            }
        });
        CHECK(lock_hash == 0);
        CHECK(after_hash != 0);
        SnapshotIndex index = index_of(end);
        REQUIRE(index.frames.size() == 1025);
        std::uint64_t at = index.header.body_size - index.frames.back().compressed_size;
        std::vector<std::byte> last;
        FrameDecompressor().decompress(
            as_bytes(end).subspan(at, index.frames.back().compressed_size),
            index.frames.back().content_size, last);
        CHECK(last[0] == std::byte{0});
        CHECK(last[65536] == std::byte{7});
    }

    TEST_CASE("a failing source or sink ends the writing with its error") {
        MemoryPages pages(pages_text(4096, 2000), 4096);
        pages.fail_at = 513;
        SnapshotHeader header = example_snapshot();
        MemorySink out;
        CHECK(kind_of([&] { write_snapshot(pages, header, out, 3, 2); }) == ErrorKind::io);
        pages.fail_at = ~std::uint32_t{0};
        FunctionSink full([](Bytes) { throw Error(ErrorKind::transient, "no"); });
        CHECK(kind_of([&] { write_snapshot(pages, header, full, 3, 2); }) == ErrorKind::transient);
        CHECK(kind_of([&] {
                  write_snapshot(pages, header, out, 3, 2, [](std::uint32_t, const auto&) {
                      throw Error(ErrorKind::data, "x");
                  });
              }) == ErrorKind::data);
    }

    TEST_CASE("every flipped byte and every cut of a snapshot is refused") {
        MemoryPages pages(pages_text(512, 3), 512);
        SnapshotHeader header = example_snapshot();
        MemorySink out;
        write_snapshot(pages, header, out, 3, 1);
        auto check = [](const std::string& bytes) {
            SnapshotIndex index = index_of(bytes);
            if (sha256(as_bytes(bytes).first(index.header.body_size)) != index.header.body_sha256)
                throw Error(ErrorKind::data, "body");
        };
        check(out.text);
        for (std::size_t i = 0; i < out.text.size(); ++i) {
            std::string bad = out.text;
            bad[i] = static_cast<char>(bad[i] ^ 4);
            CAPTURE(i);
            CHECK(kind_of([&] { check(bad); }) == ErrorKind::data);
        }
        for (std::size_t n = 0; n < out.text.size(); ++n) {
            CAPTURE(n);
            CHECK(kind_of([&] { check(out.text.substr(0, n)); }) == ErrorKind::data);
        }
        CHECK(kind_of([&] { check(out.text + "x"); }) == ErrorKind::data);
    }

    TEST_CASE("a seek table that promises too much is refused before it is fetched") {
        MemoryPages pages(pages_text(512, 3), 512);
        SnapshotHeader header = example_snapshot();
        MemorySink out;
        write_snapshot(pages, header, out, 3, 1);
        for (std::uint32_t rows : {0U, 1U, 3U, 1000U, 0x8000000U}) {
            std::string bad = out.text;
            put_le32(std::as_writable_bytes(std::span(bad)).last(9).data(), rows);
            CAPTURE(rows);
            CHECK(kind_of([&] { index_of(bad); }) == ErrorKind::data);
        }
        // An object of 1 TiB, of which only the end exists: no read may be larger than its end.
        std::uint64_t size = std::uint64_t{1} << 40, largest = 0;
        auto read = [&](std::uint64_t offset, std::uint64_t n) {
            largest = std::max(largest, n);
            std::string part(n, '\0');
            std::uint64_t start = size - out.text.size();
            for (std::uint64_t i = 0; i < n; ++i)
                if (offset + i >= start)
                    part[i] = out.text[offset + i - start];
            return part;
        };
        CHECK(kind_of([&] { read_snapshot_index(size, "test", read); }) == ErrorKind::data);
        put_le32(std::as_writable_bytes(std::span(out.text)).last(9).data(), 0x7000000);
        CHECK(kind_of([&] { read_snapshot_index(size, "test", read); }) == ErrorKind::data);
        CHECK(largest < 100000);
    }

    TEST_CASE("a frame with far more bytes than its content needs is refused: it would be in memory") {
        MemoryPages pages(pages_text(512, 3), 512);
        SnapshotHeader header = example_snapshot();
        MemorySink out;
        write_snapshot(pages, header, out, 3, 1);
        for (std::size_t more : {500U, 3000U}) { // bytes that say nothing, counted as of the frame
            std::string bytes = out.text.substr(0, header.body_size) +
                                skippable_frame(0, std::string(more, 'x'));
            SnapshotHeader h = header;
            h.body_size = bytes.size();
            const std::string end =
                skippable_frame(kSnapshotVariant, sealed(snapshot_header_line(h)));
            bytes += end + encode_seek_table({{static_cast<std::uint32_t>(h.body_size), 3 * 512},
                                              {static_cast<std::uint32_t>(end.size()), 0}});
            CAPTURE(more);
            if (more > 1024)
                CHECK(kind_of([&] { index_of(bytes); }) == ErrorKind::data);
            else
                CHECK(index_of(bytes).frames.size() == 1);
        }
    }

    TEST_CASE("a seek table larger than the first read") {
        class Zeros final : public PageSource {
        public:
            std::uint32_t page_size() const override { return 65536; }
            std::uint32_t page_count() const override { return 9000 * 16 + 1; }
            void read(std::uint32_t, std::span<std::byte> out) override {
                std::fill(out.begin(), out.end(), std::byte{0});
            }
        } pages;
        SnapshotHeader header = example_snapshot();
        MemorySink out;
        write_snapshot(pages, header, out, 1, 2);
        int reads = 0;
        SnapshotIndex index = index_of(out.text, &reads);
        CHECK(index.frames.size() == 9001);
        CHECK(index.frames.back().content_size == 65536);
        CHECK(reads <= 3);
    }

    TEST_CASE("a snapshot of zlayer-storage is named as such") {
        FrameCompressor zstd(3);
        std::vector<std::byte> frame;
        zstd.compress(as_bytes(pages_text(4096, 100)), frame);
        std::string hint;
        CHECK(kind_of([&] { index_of(std::string(as_text(frame))); }, &hint) == ErrorKind::data);
        CHECK(hint.find("zlayer-storage") != std::string::npos);
        CHECK(kind_of([&] { index_of("junk"); }, &hint) == ErrorKind::data);
        CHECK(hint.empty());
    }

} // TEST_SUITE

namespace {

ReplicaMetadata example_metadata() {
    ReplicaMetadata m;
    m.latest_snapshot = "db/app/snapshots/20261122T060000.123Z.sqlite.zst";
    m.latest_snapshot_time = parse_time("2026-11-22T06:00:00.123Z");
    m.latest_wal_sequence = 70;
    m.snapshot_count = 2;
    m.db_identifier = "0011223344556677";
    m.last_modified = parse_time("2026-11-22T06:10:00Z");
    m.format = kReplicaFormat;
    m.latest_snapshot_sequence = 60;
    m.generation = "8899aabbccddeeff";
    m.writer = "0123456789abcdef";
    m.host = "web1";
    m.released = true;
    m.generations = {{"1111111111111111", "", 0, 1, m.last_modified, "web0"},
                     {"8899aabbccddeeff", "1111111111111111", 40, 41, m.last_modified, "web1"}};
    return m;
}

const char* const kZLayerMetadata = R"({
  "latest_snapshot": "sqlite-replication/snapshots/20260613_101112.sqlite.zst",
  "latest_snapshot_time": "2026-06-13T10:11:12.123456789Z",
  "latest_wal_sequence": null,
  "snapshot_count": 3,
  "db_identifier": null,
  "last_modified": "2026-06-13T10:11:12.123456789Z"
})";

} // namespace

TEST_SUITE("wal/replica_metadata") {

    TEST_CASE("comes back whole, the fields of zlayer-storage first") {
        ReplicaMetadata m = example_metadata();
        std::string text = encode_replica_metadata(m);
        CHECK(text.starts_with("{\n  \"latest_snapshot\": \"db/app/snapshots/"));
        CHECK(text.find("\"last_modified\"") < text.find("\"format\""));
        ReplicaMetadata back = decode_replica_metadata(text, "m");
        CHECK(back.latest_snapshot == m.latest_snapshot);
        CHECK(back.latest_snapshot_time == m.latest_snapshot_time);
        CHECK(back.latest_wal_sequence == 70);
        CHECK(back.latest_snapshot_sequence == 60);
        CHECK(back.released);
        CHECK(back.generations == m.generations);
        CHECK_FALSE(back.foreign());
        CHECK(encode_replica_metadata(back) == text);
    }

    TEST_CASE("keeps fields that it does not know") {
        Json j = parse_json(encode_replica_metadata(example_metadata()), "m");
        j["note"] = "mine";
        j["list"] = {1, 2, {{"a", nullptr}}};
        ReplicaMetadata m = decode_replica_metadata(dump_json(j), "m");
        m.latest_wal_sequence = 71;
        Json again = parse_json(encode_replica_metadata(m), "m");
        CHECK(again["note"] == "mine");
        CHECK(again["list"] == j["list"]);
        CHECK(again["latest_wal_sequence"] == 71);
        // A field of ours among the unknown ones does not win.
        m.other["host"] = "evil";
        CHECK(parse_json(encode_replica_metadata(m), "m")["host"] == "web1");
    }

    TEST_CASE("zlayer-storage's is read and told apart") {
        ReplicaMetadata m = decode_replica_metadata(kZLayerMetadata, "m");
        CHECK(m.foreign());
        CHECK(m.snapshot_count == 3);
        CHECK(m.latest_wal_sequence == 0);
        CHECK(m.last_modified == parse_time("2026-06-13T10:11:12.123Z"));
    }

    TEST_CASE("wrong types, later formats and no JSON are data errors") {
        auto outcome = [&](const char* field, const Json& value) {
            Json j = parse_json(encode_replica_metadata(example_metadata()), "m");
            j[field] = value;
            return kind_of([&] { decode_replica_metadata(dump_json(j), "m"); });
        };
        CHECK(outcome("format", kReplicaFormat + 1) == ErrorKind::data);
        CHECK(outcome("format", "1") == ErrorKind::data);
        CHECK(outcome("format", 0) == ErrorKind::data);
        CHECK(outcome("format", nullptr) == ErrorKind::data);
        CHECK(outcome("latest_snapshot", 5) == ErrorKind::data);
        CHECK(outcome("latest_wal_sequence", -1) == ErrorKind::data);
        CHECK(outcome("latest_wal_sequence", "7") == ErrorKind::data);
        CHECK(outcome("last_modified", "yesterday") == ErrorKind::data);
        CHECK(outcome("released", "yes") == ErrorKind::data);
        CHECK(outcome("generations", {{"id", 5}}) == ErrorKind::data);
        CHECK(outcome("generations", Json::array({5})) == ErrorKind::data);
        CHECK(outcome("generations", Json::array({{{"id", "xyz"}}})) == ErrorKind::data);
        for (const char* bad : {"", "[]", "[{}]", "null", "7", "{", "{}", "\"x\""}) {
            CAPTURE(bad);
            CHECK(kind_of([&] { decode_replica_metadata(bad, "m"); }) == ErrorKind::data);
        }
    }

} // TEST_SUITE

TEST_SUITE("wal/replica_head") {

    TEST_CASE("the head is the last segment, however far metadata.json lags") {
        TempDir dir;
        NullLog log;
        auto store = open_local_store(StoreUrl::parse(dir / "store"), {}, log);
        ReplicaKeys keys = ReplicaKeys::of_name("app");

        ReplicaHead head = read_replica_head(*store, keys);
        CHECK_FALSE(head.exists());
        CHECK(head.sequence() == 0);

        auto put = [&](std::uint64_t sequence) {
            SegmentHeader h = example_header();
            h.sequence = sequence;
            put_text(*store, keys.segment(sequence),
                     make_segment(dir, 512, {{1, pattern_page(512, 1, 1)}}, 1, h).bytes);
        };
        auto put_meta = [&](std::uint64_t sequence) {
            ReplicaMetadata m = example_metadata();
            m.latest_wal_sequence = sequence;
            put_replica_metadata(*store, keys, m);
        };
        put(1);
        head = read_replica_head(*store, keys); // no metadata yet
        CHECK(head.exists());
        CHECK_FALSE(head.metadata);
        CHECK(head.sequence() == 1);
        put_meta(0);
        CHECK(read_replica_head(*store, keys).sequence() == 1);
        put_meta(1);
        CHECK(read_replica_head(*store, keys).sequence() == 1);
        for (std::uint64_t n = 2; n <= 40; ++n)
            put(n);
        put_text(*store, keys.segments() + "zzz", "junk");
        head = read_replica_head(*store, keys);
        CHECK(head.sequence() == 40);
        CHECK(head.metadata->latest_wal_sequence == 1);
        put_meta(40);
        CHECK(read_replica_head(*store, keys).sequence() == 40);
        store->remove(keys.metadata());
        CHECK(read_replica_head(*store, keys).sequence() == 40);

        // Objects were deleted by something else: numbers must not start again.
        put_meta(41);
        CHECK(kind_of([&] { read_replica_head(*store, keys); }) == ErrorKind::data);
    }

    TEST_CASE("damage and other tools' replicas are data errors") {
        TempDir dir;
        NullLog log;
        auto store = open_local_store(StoreUrl::parse(dir / "store"), {}, log);
        ReplicaKeys keys = ReplicaKeys::of_name("app");
        std::string hint;
        put_text(*store, keys.metadata(), kZLayerMetadata);
        CHECK(kind_of([&] { read_replica_head(*store, keys); }, &hint) == ErrorKind::data);
        CHECK(hint.find("zlayer-storage") != std::string::npos);
        store->remove(keys.metadata());

        FrameCompressor zstd(3);
        std::vector<std::byte> frame;
        for (std::size_t size : {std::size_t{100}, std::size_t{100000}}) {
            std::mt19937 random(1);
            std::string wal(size, ' ');
            for (char& c : wal)
                c = static_cast<char>(random());
            zstd.compress(as_bytes(wal), frame);
            put_text(*store, keys.segment(9), std::string(as_text(frame)));
            CHECK(kind_of([&] { read_replica_head(*store, keys); }, &hint) == ErrorKind::data);
            CHECK(hint.find("zlayer-storage") != std::string::npos);
        }
        put_text(*store, keys.segment(9), "");
        CHECK(kind_of([&] { read_replica_head(*store, keys); }) == ErrorKind::data);
        // A segment under another's number.
        put_text(*store, keys.segment(9), make_segment(dir, 512, {}, 1).bytes);
        CHECK(kind_of([&] { read_replica_head(*store, keys); }) == ErrorKind::data);
        CHECK_FALSE(get_segment_header(*store, keys.segment(10)));
        CHECK_FALSE(get_snapshot_index(*store, keys.snapshot(TimePoint{})));

        MemoryPages pages(pages_text(512, 3), 512);
        SnapshotHeader header = example_snapshot();
        MemorySink out;
        write_snapshot(pages, header, out, 3, 1);
        put_text(*store, keys.snapshot(TimePoint{}), out.text);
        CHECK(get_snapshot_index(*store, keys.snapshot(TimePoint{}))->header.sequence == 12);
    }

} // TEST_SUITE
