#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/chunker.hpp"
#include "layer/layer_stream.hpp"
#include "stream/seek_table.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace zl;

namespace {

struct Entry {
    std::string path;
    std::string data; ///< stands for header + content + padding
};

std::string noise(std::size_t n, std::uint32_t seed) {
    std::mt19937 rng(seed);
    std::string out(n, '\0');
    for (char& c : out)
        c = static_cast<char>(rng() >> 24);
    return out;
}

std::string pack(const std::vector<Entry>& entries, unsigned threads, Trailer* trailer = nullptr) {
    MemorySink out;
    LayerStreamWriter writer(out, 1, threads);
    for (const Entry& e : entries) {
        TocEntry t;
        t.type = EntryType::file;
        t.path = e.path;
        t.size = e.data.size();
        writer.begin_entry(t, e.data.size());
        for (std::size_t at = 0; at < e.data.size(); at += 100000)
            writer.write(
                as_bytes(e.data).subspan(at, std::min<std::size_t>(100000, e.data.size() - at)));
        writer.end_entry(sha256(as_bytes(e.data)));
    }
    Trailer t = writer.finish({});
    if (trailer)
        *trailer = t;
    return out.text;
}

std::string tar_of(const std::vector<Entry>& entries) {
    std::string tar;
    for (const Entry& e : entries)
        tar += e.data;
    return tar + std::string(1024, '\0');
}

struct Outcome {
    bool accepted = false;
    ErrorKind kind = ErrorKind::internal;
    std::string tar;
    std::string message;
};

Outcome unpack(const std::string& blob, LayerStreamReader::Options options = {}) {
    Outcome o;
    try {
        MemorySource in(as_bytes(blob));
        LayerStreamReader reader(in, options);
        std::vector<std::byte> buffer(70000);
        while (std::size_t n = reader.read(buffer))
            o.tar += as_text(Bytes(buffer.data(), n));
        auto r = reader.finish();
        CHECK(r.digest == sha256(as_bytes(o.tar)));
        CHECK(r.blob_sha256 == sha256(as_bytes(blob)));
        o.accepted = true;
    } catch (const Error& e) {
        o.kind = e.kind();
        o.message = e.what();
    }
    return o;
}

bool checker_accepts(const std::string& blob, std::size_t piece = SIZE_MAX) {
    try {
        LayerStreamChecker c;
        for (std::size_t at = 0; at < blob.size(); at += std::min(piece, blob.size() - at))
            c.write(as_bytes(blob).subspan(at, std::min(piece, blob.size() - at)));
        return c.finish().trailer.has_value();
    } catch (const Error& e) {
        CHECK(e.kind() == ErrorKind::data);
        return false;
    }
}

std::vector<Entry> tree() {
    std::vector<Entry> entries;
    for (int i = 0; i < 3000; ++i)
        entries.push_back(
            {"d/f" + std::to_string(i),
             noise(512 * (1 + static_cast<std::size_t>(i) % 9), static_cast<std::uint32_t>(i))});
    entries.push_back({"e/big", noise(30 << 20, 77)});
    entries.push_back({"e/zeros", std::string(20 << 20, '\0')});
    entries.push_back({"f/last", noise(512, 5)});
    return entries;
}

} // namespace

TEST_SUITE("layer/layer_stream") {
    TEST_CASE("comes back, with the same bytes at any number of threads") {
        auto entries = tree();
        Trailer t;
        std::string blob = pack(entries, 1, &t);
        CHECK(pack(entries, 2) == blob);
        CHECK(pack(entries, 7) == blob);
        CHECK(t.digest == sha256(as_bytes(tar_of(entries))));
        CHECK(t.file_count == entries.size());
        for (unsigned threads : {1u, 4u}) {
            Outcome o = unpack(blob, {.threads = threads});
            CHECK(o.accepted);
            CHECK(o.tar == tar_of(entries));
        }
        CHECK(checker_accepts(blob));
        CHECK(checker_accepts(blob, 777));
    }

    TEST_CASE("every flipped byte and every cut of a small layer is refused") {
        std::string blob = pack({{"a", noise(1000, 1)}, {"b", std::string(5000, 'b')}}, 1);
        REQUIRE(unpack(blob).accepted);
        for (std::size_t i = 0; i < blob.size(); ++i) {
            std::string bad = blob;
            bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
            CHECK_MESSAGE(!checker_accepts(bad), i);
            if (i % 7 == 0)
                CHECK_MESSAGE(!unpack(bad).accepted, i);
            CHECK_MESSAGE(!checker_accepts(blob.substr(0, i)), i);
            if (i % 11 == 0)
                CHECK_MESSAGE(!unpack(blob.substr(0, i)).accepted, i);
        }
        CHECK_FALSE(checker_accepts(blob + "x"));
        CHECK_FALSE(checker_accepts(blob + blob));
        CHECK_FALSE(unpack(blob + blob).accepted);
    }

    TEST_CASE("a true layer without its end is foreign, and foreign must be asked for") {
        std::string data(100000, 'f');
        FrameCompressor zstd(3);
        std::vector<std::byte> frame;
        zstd.compress(as_bytes(data), frame);
        std::string blob(as_text(frame));
        Outcome o = unpack(blob);
        CHECK_FALSE(o.accepted);
        CHECK(o.kind == ErrorKind::data);
        CHECK(unpack(blob + blob, {.foreign = true}).tar == data + data);
        CHECK_FALSE(unpack(blob.substr(0, blob.size() - 1), {.foreign = true}).accepted);
    }

    TEST_CASE("frames too big to hold, or without a size, are streamed between others") {
        std::string big = noise(40 << 20, 9), small(1000, 's');
        FrameCompressor zstd(1);
        std::vector<std::byte> f;
        zstd.compress(as_bytes(big), f);
        std::string blob(as_text(f));
        zstd.compress(as_bytes(small), f);
        std::string s(as_text(f));
        StringCompressor unsized(1);
        unsized.write(as_bytes(big));
        std::string u = unsized.finish();
        Outcome o = unpack(s + s + blob + s + u + s, {.threads = 3, .foreign = true});
        CHECK_MESSAGE(o.accepted, o.message);
        CHECK(o.tar == small + small + big + small + big + small);
    }

    TEST_CASE("more than the size limit is refused before it is decompressed") {
        std::string blob = pack({{"zeros", std::string(100 << 20, '\0')}}, 2);
        Outcome o = unpack(blob, {.max_size = 50 << 20});
        CHECK_FALSE(o.accepted);
        CHECK(o.tar.size() <= 50 << 20);
        CHECK(unpack(blob, {.max_size = (100 << 20) + 1024}).accepted);
    }

    TEST_CASE("frames without content take no more memory than the budget") {
        std::string many;
        FrameCompressor zstd(1);
        std::vector<std::byte> empty;
        zstd.compress({}, empty);
        while (many.size() + empty.size() <= 1 << 20)
            many += as_text(empty);
        std::atomic<int> reads = 0;
        struct Endless final : Source {
            Endless(const std::string& t, std::atomic<int>& n) : text(t), count(n) {}
            std::size_t read(std::span<std::byte> b) override {
                if (count == 16)
                    return 0;
                ++count;
                std::memcpy(b.data(), text.data(), std::min(b.size(), text.size()));
                return std::min(b.size(), text.size());
            }
            const std::string& text;
            std::atomic<int>& count;
        };
        Endless in(many, reads);
        LayerStreamReader reader(in, {.threads = 1, .foreign = true});
        for (int before = -1; before != reads;) { // until it waits for somebody who reads
            before = reads;
            std::this_thread::sleep_for(std::chrono::milliseconds(400));
        }
        CHECK(reads <= 4);
    }

    TEST_CASE("more frames than their rows are kept of make no layer") {
        const std::string none = skippable_frame(5, "");
        std::string piece;
        for (int i = 0; i < 1 << 16; ++i)
            piece += none;
        LayerStreamChecker checker;
        Trailer t;
        Hasher hash;
        for (std::size_t i = 0; i <= kMaxLayerRows >> 16; ++i) {
            checker.write(as_bytes(piece));
            hash.update(as_bytes(piece));
            t.before_bytes += piece.size();
        }
        t.before_sha256 = hash.finish();
        t.data_frames = t.before_bytes / none.size() - 1;
        t.data_bytes = t.before_bytes - none.size();
        CHECK_THROWS_AS(checker.write(as_bytes(encode_trailer(t))), Error);
    }

    TEST_CASE("destroying a reader early does not hang, though the input is open") {
        std::string blob = pack(tree(), 2);
        MemorySource in(as_bytes(blob));
        LayerStreamReader reader(in, {});
        std::byte b[10];
        CHECK(reader.read(b) == 10);
    }

    TEST_CASE("a failing sink comes out of the writer") {
        FunctionSink sink([](Bytes) { throw Error(ErrorKind::io, "disk full"); });
        LayerStreamWriter writer(sink, 1, 2);
        auto all = [&] {
            std::string data = noise(5 << 20, 3);
            for (int i = 0; i < 20; ++i) {
                writer.begin_entry({.path = "x"}, data.size());
                writer.write(as_bytes(data));
                writer.end_entry(std::nullopt);
            }
            writer.finish({});
        };
        CHECK_THROWS_AS(all(), Error);
    }
}

TEST_SUITE("layer/toc") {
    TEST_CASE("finds each entry again in its frame") {
        auto entries = tree();
        std::string blob = pack(entries, 2);
        auto rows = *decode_seek_footer(as_bytes(blob).last(kSeekFooterSize));
        auto table = decode_seek_table(as_bytes(blob).last(seek_table_frame_size(rows)));
        std::vector<std::size_t> starts;
        std::size_t at = 0;
        for (auto& row : table) {
            starts.push_back(at);
            at += row.compressed_size;
        }
        std::size_t toc = table.size() - 2;
        FrameDecompressor zstd;
        std::map<std::uint64_t, std::string> contents;
        std::uint64_t count = 0;
        read_toc(as_bytes(blob).subspan(starts[toc] + 8, table[toc].compressed_size - 8),
                 [&](std::uint64_t i, const TocEntry& e) {
                     REQUIRE(i < entries.size());
                     CHECK(e.path == entries[i].path);
                     CHECK(e.sha256 == sha256(as_bytes(entries[i].data)));
                     auto& content = contents[e.frame];
                     if (content.empty()) {
                         std::vector<std::byte> out;
                         auto f = static_cast<std::size_t>(e.frame);
                         zstd.decompress(
                             as_bytes(blob).subspan(starts[f], table[f].compressed_size),
                             table[f].content_size, out);
                         content = as_text(out);
                     }
                     std::size_t n = std::min(entries[i].data.size(), content.size() - e.offset);
                     CHECK(content.compare(e.offset, n, entries[i].data, 0, n) == 0);
                     ++count;
                     return true;
                 });
        CHECK(count == entries.size());
    }

    TEST_CASE("no cut of it is accepted") {
        TocWriter w;
        for (int i = 0; i < 50; ++i)
            w.add({.path = "p" + std::to_string(i),
                   .size = 3,
                   .frame = static_cast<std::uint64_t>(i) / 7});
        std::string toc = w.finish();
        auto none = [](std::uint64_t, const TocEntry&) { return true; };
        CHECK_NOTHROW(read_toc(as_bytes(toc), none));
        for (std::size_t n = 0; n < toc.size(); ++n)
            CHECK_THROWS_AS(read_toc(as_bytes(toc).first(n), none), Error);
    }
}

TEST_SUITE("layer/chunker") {
    /// Sizes of the frames of one big entry.
    std::vector<std::size_t> frames_of(const std::string& data, std::size_t piece) {
        ContentChunker c;
        c.start_frame();
        std::vector<std::size_t> out;
        std::size_t start = 0, at = 0;
        while (at < data.size()) {
            at += c.take(as_bytes(data).subspan(at, std::min(piece, data.size() - at)));
            if (c.cut()) {
                out.push_back(at - start);
                start = at;
                c.start_frame();
            }
        }
        out.push_back(at - start);
        return out;
    }

    TEST_CASE("cuts do not depend on the pieces, and stay within the limits") {
        std::string data = noise(64 << 20, 11);
        auto a = frames_of(data, data.size());
        CHECK(frames_of(data, 4096) == a);
        CHECK(frames_of(data, 1000003) == a);
        for (std::size_t i = 0; i + 1 < a.size(); ++i) {
            CHECK(a[i] >= kMinFrame);
            CHECK(a[i] <= kMaxFrame);
        }
        CHECK(a.size() > 8);
        CHECK(a.size() < 40);
    }

    TEST_CASE("a change at the start leaves the later frames as they were") {
        std::string data = noise(64 << 20, 12);
        auto a = frames_of(data, data.size());
        auto b = frames_of("some more bytes at the start" + data, data.size());
        // Compare from the end: the last frames must be the same ones.
        int same = 0;
        for (auto i = a.rbegin(), j = b.rbegin(); i != a.rend() && j != b.rend() && *i == *j;
             ++i, ++j)
            ++same;
        CHECK(same + 3 >= static_cast<int>(a.size()));
    }

    TEST_CASE("small entries make frames of about 4 MiB, the same after an insertion") {
        auto run = [](bool extra) {
            std::vector<std::string> cuts;
            std::uint64_t size = extra ? 700 * 512 : 0, frames = 0, total = 0;
            for (int i = 0; i < 60000; ++i) {
                std::string path = "dir/" + std::to_string(i);
                std::uint64_t s = 1024 + 512 * static_cast<std::uint64_t>(i % 7);
                size += s;
                total += s;
                if (cut_after_entry(size, path, s)) {
                    cuts.push_back(path);
                    size = 0;
                    ++frames;
                }
            }
            CHECK(total / frames > 2 << 20);
            CHECK(total / frames < 6 << 20);
            return cuts;
        };
        auto a = run(false), b = run(true);
        CHECK(a.back() == b.back());
        std::size_t common = 0;
        for (auto& c : a)
            common += static_cast<std::size_t>(std::count(b.begin(), b.end(), c));
        CHECK(common * 10 >= a.size() * 8);
    }
}
