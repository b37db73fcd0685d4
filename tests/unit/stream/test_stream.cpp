#include "base/error.hpp"
#include "base/file.hpp"
#include "stream/hash.hpp"
#include "stream/seek_table.hpp"
#include "stream/stream.hpp"
#include "stream/trailer.hpp"
#include "stream/zstd_stream.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

using namespace zl;

namespace {

std::string noise(std::size_t n, std::uint32_t seed) {
    std::string out(n, '\0');
    for (char& c : out) {
        seed = seed * 1664525u + 1013904223u;
        c = static_cast<char>(seed >> 24);
    }
    return out;
}

std::string frame_of(const std::string& data, int level = 3) {
    FrameCompressor zstd(level);
    std::vector<std::byte> out;
    zstd.compress(as_bytes(data), out);
    return std::string(as_text(out));
}

ErrorKind kind_of(const std::function<void()>& f) {
    try {
        f();
    } catch (const Error& e) {
        return e.kind();
    }
    return ErrorKind::internal;
}

} // namespace

TEST_SUITE("stream/hash") {
    TEST_CASE("knows the published values") {
        // FIPS 180-2 appendix B.1, RFC 1321 A.5, RFC 4231 test case 2
        CHECK(sha256(as_bytes("abc")).hex() ==
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        CHECK(md5_hex(as_bytes("abc")) == "900150983cd24fb0d6963f7d28e17f72");
        CHECK(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?")).hex() ==
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
    TEST_CASE("peek does not end the hash") {
        Hasher h;
        h.update(as_bytes("a"));
        CHECK(h.peek() == sha256(as_bytes("a")));
        h.update(as_bytes("bc"));
        CHECK(h.finish() == sha256(as_bytes("abc")));
    }
    TEST_CASE("reads only 64 hex digits") {
        std::string hex(64, 'a');
        CHECK(Digest::from_hex(hex));
        CHECK(Digest::from_hex(hex)->hex() == hex);
        CHECK_FALSE(Digest::from_hex(hex + "a"));
        CHECK_FALSE(Digest::from_hex(hex.substr(1)));
        CHECK_FALSE(Digest::from_hex("g" + hex.substr(1)));
    }
}

TEST_SUITE("stream/zstd_stream") {
    TEST_CASE("a frame carries size and checksum and opens again") {
        std::string data = noise(300000, 1) + std::string(100000, 'x');
        std::string frame = frame_of(data);
        auto h = parse_frame_header(as_bytes(frame));
        REQUIRE(h);
        CHECK(h->has_checksum);
        CHECK(h->content_size == data.size());
        FrameDecompressor zstd;
        std::vector<std::byte> out;
        zstd.decompress(as_bytes(frame), data.size(), out);
        CHECK(as_text(out) == data);
        CHECK(kind_of([&] { zstd.decompress(as_bytes(frame), data.size() - 1, out); }) ==
              ErrorKind::data);
    }

    TEST_CASE("the scanner finds every frame end, whatever the pieces") {
        std::string a = frame_of(noise(200000, 7)), b = frame_of(std::string(500000, 'z')),
                    c = frame_of(""), s = skippable_frame(3, "hello"), e = skippable_frame(4, "");
        std::string all = a + b + s + c + e + a;
        std::vector<std::size_t> ends{a.size(),
                                      a.size() + b.size(),
                                      a.size() + b.size() + s.size(),
                                      a.size() + b.size() + s.size() + c.size(),
                                      a.size() + b.size() + s.size() + c.size() + e.size(),
                                      all.size()};
        for (std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, all.size()}) {
            FrameScanner scanner;
            std::vector<std::size_t> seen;
            std::size_t at = 0;
            while (at < all.size()) {
                std::size_t n =
                    scanner.feed(as_bytes(all).subspan(at, std::min(piece, all.size() - at)));
                REQUIRE(n > 0);
                at += n;
                if (scanner.at_boundary())
                    seen.push_back(at);
            }
            CHECK(seen == ends);
        }
    }

    TEST_CASE("refuses what is no zstd, dictionaries and huge windows") {
        CHECK(kind_of([] { parse_frame_header(as_bytes("PK\3\4")); }) == ErrorKind::data);
        std::string frame = frame_of("abc");
        std::string dictionary = frame;
        dictionary[4] = static_cast<char>(dictionary[4] | 1);
        CHECK(kind_of([&] { parse_frame_header(as_bytes(dictionary)); }) == ErrorKind::data);
        // magic, descriptor without single segment, window descriptor for 2^31
        std::string window("\x28\xB5\x2F\xFD\x00\xA8", 6);
        CHECK(kind_of([&] { parse_frame_header(as_bytes(window)); }) == ErrorKind::data);
        window[5] = '\x88'; // 2^27
        CHECK(parse_frame_header(as_bytes(window)));
    }

    TEST_CASE("streaming gives all bytes in any piece size and knows the frame end") {
        std::string data = noise(100000, 3) + std::string(3 << 20, 'q');
        std::string frames = frame_of(data) + skippable_frame(0, "skip me") + frame_of(data);
        for (std::size_t piece : {std::size_t{1000}, frames.size()}) {
            StreamDecompressor zstd;
            MemorySink out;
            for (std::size_t at = 0; at < frames.size(); at += piece)
                zstd.write(as_bytes(frames).subspan(at, std::min(piece, frames.size() - at)), out);
            CHECK(zstd.at_frame_end());
            CHECK(out.text == data + data);
        }
        StreamDecompressor cut;
        MemorySink out;
        cut.write(as_bytes(frames).first(frames.size() - 1), out);
        CHECK_FALSE(cut.at_frame_end());
    }
}

TEST_SUITE("stream/trailer") {
    Trailer sample() {
        Trailer t;
        t.digest = sha256(as_bytes("tar"));
        t.size_bytes = 1ull << 40;
        t.file_count = 3;
        t.data_frames = 2;
        t.data_bytes = 100;
        t.before_bytes = 120;
        t.before_sha256 = sha256(as_bytes("before"));
        t.incomplete = true;
        t.skipped_count = 1;
        t.skipped = {{"a/s\xffocket", "socket"}};
        t.skipped[0].path = "a/socket";
        return t;
    }
    TEST_CASE("comes back as written") {
        std::string frame = encode_trailer(sample());
        CHECK(decode_trailer(as_bytes(frame).subspan(8)) == sample());
    }
    TEST_CASE("no flipped bit and no cut is accepted") {
        std::string frame = encode_trailer(sample()).substr(8);
        for (std::size_t i = 0; i < frame.size(); ++i) {
            std::string bad = frame;
            bad[i] = static_cast<char>(bad[i] ^ 0x20); // also turns hex digits into upper case
            CHECK_MESSAGE(kind_of([&] { decode_trailer(as_bytes(bad)); }) == ErrorKind::data, i);
            CHECK_MESSAGE(kind_of([&] { decode_trailer(as_bytes(frame.substr(0, i))); }) ==
                              ErrorKind::data,
                          i);
        }
    }
}

TEST_SUITE("stream/seek_table") {
    TEST_CASE("comes back as written, and nothing else does") {
        std::vector<SeekEntry> rows{{10, 20}, {0xFFFFFFFF, 1}, {5, 0}};
        std::string frame = encode_seek_table(rows);
        CHECK(frame.size() == seek_table_frame_size(3));
        CHECK(decode_seek_table(as_bytes(frame)) == rows);
        CHECK(decode_seek_footer(as_bytes(frame).last(9)) == 3u);
        CHECK(frame.substr(frame.size() - 4) == "\xB1\xEA\x92\x8F");
        for (std::size_t n = 0; n < frame.size(); ++n)
            CHECK(kind_of([&] { decode_seek_table(as_bytes(frame).first(n)); }) == ErrorKind::data);
        frame[frame.size() - 9] = 4;
        CHECK(kind_of([&] { decode_seek_table(as_bytes(frame)); }) == ErrorKind::data);
    }
}

TEST_SUITE("stream/stream") {
    TEST_CASE("a blocked read is woken by a stop") {
        int p[2];
        REQUIRE(::pipe2(p, O_CLOEXEC) == 0);
        UniqueFd r(p[0]), w(p[1]);
        std::stop_source stop;
        FdSource source(r.get(), "pipe", stop.get_token());
        std::jthread later([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            stop.request_stop();
        });
        std::byte b[1];
        CHECK_THROWS_AS(source.read(b), Interrupted);
    }
    TEST_CASE("a write to a pipe that nobody reads is woken by a stop") {
        int p[2];
        REQUIRE(::pipe2(p, O_CLOEXEC) == 0);
        UniqueFd r(p[0]), w(p[1]);
        std::stop_source stop;
        FdSink sink(w.get(), "pipe", stop.get_token());
        std::jthread later([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            stop.request_stop();
        });
        std::string data(1 << 20, 'x');
        CHECK_THROWS_AS(sink.write(as_bytes(data)), Interrupted);
        CHECK((::fcntl(w.get(), F_GETFL) & O_NONBLOCK) == 0);
    }
    TEST_CASE("a reader that left is BrokenPipe") {
        int p[2];
        REQUIRE(::pipe2(p, O_CLOEXEC) == 0);
        UniqueFd w(p[1]);
        ::close(p[0]);
        ::signal(SIGPIPE, SIG_IGN);
        FdSink sink(w.get(), "pipe");
        CHECK_THROWS_AS(sink.write(as_bytes("x")), BrokenPipe);
    }
}
