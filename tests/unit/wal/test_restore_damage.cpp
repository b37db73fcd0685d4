#include "restore_helpers.hpp"

using namespace zl;
using namespace zl::restore_test;

TEST_SUITE("wal/restore/damage") {

    TEST_CASE("a damaged object is named, or passed by where another way leads to the same state") {
        Replica source;
        fill(source, 8);
        const std::string first_snapshot = source.metadata.latest_snapshot;
        const std::string newer = source.snapshot();
        source.ship("INSERT INTO t(v) VALUES('a')");
        source.ship("INSERT INTO t(v) VALUES('b')");
        source.write_metadata();
        auto flip = [&](const std::string& key, std::size_t at) {
            const std::string path = source.dir / ("store/" + key);
            std::string text = whole_file(path);
            text[at % text.size()] = static_cast<char>(text[at % text.size()] ^ 0x20);
            write_full(open_file(path, O_WRONLY).get(), as_bytes(text), path);
        };
        source.log.text.clear();

        SUBCASE("the newest snapshot's data") {
            flip(newer, 100);
            CHECK(restored(source) == source.bytes());
            CHECK(has(source.log.text, newer));
            CHECK(has(source.log.text, "not needed"));
        }
        SUBCASE("the newest snapshot's index") {
            flip(newer, whole_file(source.dir / ("store/" + newer)).size() - 3);
            CHECK(restored(source) == source.bytes());
            CHECK(restored(source, sequence(9)) == source.states[9]);
            CHECK(restored(source, at(source.times[10])) == source.states[10]);
            CHECK(has(source.log.text, newer));
        }
        SUBCASE("all snapshots") {
            flip(newer, 100);
            flip(first_snapshot, 100);
            // Each page of the newest state is in a segment: that one needs no data of a snapshot.
            Failure f = failure_of([&] { restored(source, sequence(1)); });
            CHECK(f.kind == ErrorKind::data);
            CHECK(has(f.message, first_snapshot));
        }
        SUBCASE("a segment that is also merged") {
            source.merge(2, 4);
            flip(source.keys.segment(3), 2000);
            CHECK(restored(source, sequence(5)) == source.states[5]);
            Failure f = failure_of([&] { restored(source, sequence(3)); });
            CHECK(f.kind == ErrorKind::data);
            CHECK(has(f.message, source.keys.segment(3)));
            CHECK(has(f.hint, "--sequence 2"));
        }
        SUBCASE("a merged one, with its singles") {
            flip(source.merge(2, 4), 2000);
            CHECK(restored(source, sequence(5)) == source.states[5]);
            CHECK(has(source.log.text, "merged/"));
            source.forget(2, 3);
            Failure f = failure_of([&] { restored(source, sequence(5)); });
            CHECK(f.kind == ErrorKind::data);
            CHECK(has(f.message, "merged/"));
            CHECK(has(f.hint, "(sequence 1)"));
            CHECK(restored(source, sequence(10)) == source.states[10]);
        }
        SUBCASE("a segment: header, body, length") {
            const std::string path = source.dir / ("store/" + source.keys.segment(10));
            const std::string good = whole_file(path);
            for (std::size_t where : {std::size_t{20}, good.size() - 1, good.size()}) {
                CAPTURE(where);
                if (where < good.size())
                    flip(source.keys.segment(10), where);
                else
                    CHECK(::truncate(path.c_str(), static_cast<off_t>(where - 1)) == 0);
                Failure f = failure_of([&] { restored(source); });
                CHECK(f.kind == ErrorKind::data);
                CHECK(has(f.message, source.keys.segment(10)));
                CHECK(has(f.hint, format_rfc3339(source.times[9]) + " (sequence 9)"));
                CHECK(restored(source, sequence(9)) == source.states[9]);
                f = failure_of([&] { restored(source, at(source.time)); });
                CHECK(f.kind == ErrorKind::data);
                write_full(open_file(path, O_WRONLY | O_TRUNC).get(), as_bytes(good), path);
            }
            CHECK(restored(source) == source.bytes());
            CHECK(::truncate(path.c_str(), 0) == 0);
            CHECK(failure_of([&] { restored(source); }).kind == ErrorKind::data);
        }
        SUBCASE("the last segment") {
            flip(source.keys.segment(11), 2000);
            Failure f = failure_of([&] { restored(source); });
            CHECK(f.kind == ErrorKind::data);
            CHECK(has(f.hint, "(sequence 10)"));
            CHECK(restored(source, sequence(10)) == source.states[10]);
        }
        SUBCASE("metadata is only a help") {
            flip(source.keys.metadata(), 0);
            CHECK(restored(source) == source.bytes());
            source.store->remove(source.keys.metadata());
            CHECK(restored(source) == source.bytes());
            source.store->put(source.keys.metadata(),
                              MemoryBody(R"({"latest_snapshot": null, "latest_wal_sequence": 3,
            "snapshot_count": 1, "db_identifier": "app", "latest_snapshot_time": null,
            "last_modified": "2026-11-22T06:00:00Z"})"));
            Failure f = failure_of([&] { restored(source); });
            CHECK(f.kind == ErrorKind::data);
            CHECK(has(f.message, "not written by zl"));
        }
        SUBCASE("a segment of another history in its place") {
            Replica other;
            fill(other, 8, 99);
            for (const Replica* from : {&other, &source}) {
                const std::uint64_t n = from == &source ? 5 : 6;
                source.store->put(
                    source.keys.segment(6),
                    MemoryBody(whole_file(from->dir / ("store/" + source.keys.segment(n)))));
                Failure f = failure_of([&] { restored(source, sequence(8)); });
                CHECK(f.kind == ErrorKind::data);
                CHECK(has(f.message, source.keys.segment(6)));
                CHECK(has(f.hint, "(sequence 5)"));
            }
        }
        CHECK(source.dir.names() == std::vector<std::string>{"app.db", "segment", "store"});
    }

    TEST_CASE("headers that lie, each with a true checksum of its own") {
        Replica source;
        fill(source, 5);
        const std::string key = source.keys.segment(6);
        const std::string path = source.dir / ("store/" + key);
        const std::string good = whole_file(path);
        auto with = [&](const std::function<void(SegmentHeader&)>& change) {
            SegmentHeader h = source.headers[6];
            change(h);
            std::string bad = encode_segment_header(h) + good.substr(kSegmentHeaderSize);
            write_full(open_file(path, O_WRONLY | O_TRUNC).get(), as_bytes(bad), path);
            Failure f = failure_of([&] { restored(source); });
            CHECK(f.kind == ErrorKind::data);
            return f;
        };
        // Its pages are sound and in order; only the sum of all tells.
        Failure f = with([](SegmentHeader& h) { ++h.checksum_after; });
        CHECK(has(f.message, "checksum"));
        f = with([](SegmentHeader& h) { h.prev.bytes[0] ^= std::byte{1}; });
        CHECK(has(f.message, "predecessor"));
        CHECK(has(f.hint, "(sequence 5)"));
        CHECK(has(with([](SegmentHeader& h) { ++h.checksum_before; }).message, "checksum before"));
        CHECK(has(with([](SegmentHeader& h) { h.db_id[3] = '7'; }).message, "database"));
        CHECK(has(with([&](SegmentHeader& h) { h.time = h.first_time = source.times[5]; }).message,
                  "time"));
        CHECK(has(with([](SegmentHeader& h) { h.page_size = 8192; }).message, "page size"));
        CHECK(has(with([](SegmentHeader& h) { h.sequence = h.first_sequence = 7; }).message,
                  "of segment 7"));
        CHECK(has(with([](SegmentHeader& h) { ++h.page_count; }).message, "commit"));
        with([](SegmentHeader& h) { h.kind = SegmentKind::claim; });
        with([](SegmentHeader& h) { h.body_sha256.bytes[5] ^= std::byte{1}; });
        // A snapshot of other data under the header of the right one.
        write_full(open_file(path, O_WRONLY | O_TRUNC).get(), as_bytes(good), path);
        CHECK(restored(source) == source.bytes());
        source.snapshot();
        const std::string snapshot = source.metadata.latest_snapshot;
        std::string other = source.states[6];
        other[other.size() - 1] = static_cast<char>(other[other.size() - 1] ^ 1);
        std::swap(source.states[6], other);
        SnapshotIndex index = source.restorer()->plan({}).snapshot;
        TextPages pages(source.states[6], 4096);
        MemorySink out;
        write_snapshot(pages, index.header, out, 3, 1);
        std::string text = out.text;
        CHECK(has(text, dump_hex(index.header.checksum)));
        source.store->put(snapshot, MemoryBody(text));
        f = failure_of([&] { restored(source, sequence(1)); });
        CHECK(f.kind == ErrorKind::usage); // the first snapshot is good
        source.log.text.clear();
        CHECK(restored(source) == other); // by way of the first
        CHECK(has(source.log.text, snapshot));
    }

    TEST_CASE("each flipped byte: never a wrong database with success") {
        Replica source(512);
        source.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
        source.claim();
        source.snapshot();
        source.ship("INSERT INTO t(v) VALUES(1)");
        source.merge(2, 2);
        source.ship("INSERT INTO t(v) VALUES(2)");
        const std::string good = source.bytes();
        for (const std::string& key : {source.metadata.latest_snapshot, source.keys.segment(3),
                                       source.keys.merged({2, 2})}) {
            CAPTURE(key);
            if (key.find("merged") != std::string::npos)
                source.forget(2, 2);
            const std::string path = source.dir / ("store/" + key);
            const std::string text = whole_file(path);
            int succeeded = 0;
            for (std::size_t i = 0; i < text.size(); ++i) {
                std::string bad = text;
                bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
                write_full(open_file(path, O_WRONLY | O_TRUNC).get(), as_bytes(bad), path);
                MemorySink out;
                Failure f = failure_of(
                    [&] { source.restorer()->restore_stream({}, source.dir.path(), out); });
                if (f.message == "no failure") {
                    ++succeeded;
                    CHECK(out.text == good);
                } else {
                    CHECK(f.kind == ErrorKind::data);
                    CHECK(out.text.empty());
                }
            }
            MESSAGE(key << ": " << succeeded << " of " << text.size() << " flips did not matter");
            write_full(open_file(path, O_WRONLY | O_TRUNC).get(), as_bytes(text), path);
        }
        CHECK(source.dir.names() == std::vector<std::string>{"app.db", "segment", "store"});
    }

    TEST_CASE("an object that goes away meanwhile: planned again, at most five times") {
        Replica source;
        fill(source, 12);
        Wrapped store(*source.store);
        int passes = 0;
        store.before = [&](const std::string& verb, const std::string& key) {
            // Retention merges and deletes under our hands.
            if (verb == "GET" && key == source.keys.segment(4) && passes++ == 0) {
                source.merge(2, 5);
                source.forget(2, 5);
            }
        };
        CHECK(restored(source, {}, nullptr, &store) == source.bytes());
        CHECK(passes >= 1);

        // The base goes, a newer one came.
        passes = 0;
        store.before = [&](const std::string& verb, const std::string& key) {
            if (verb == "RANGE" && key == source.metadata.latest_snapshot && passes++ == 3) {
                const std::string old = source.metadata.latest_snapshot;
                source.snapshot();
                source.store->remove(old);
                source.write_metadata();
            }
        };
        CHECK(restored(source, {}, nullptr, &store) == source.bytes());

        // A listing that keeps naming what is not there.
        source.ship("INSERT INTO t(v) VALUES(1)");
        source.ship("INSERT INTO t(v) VALUES(1)");
        int asked = 0;
        const std::string key = source.keys.segment(14);
        const std::string text = whole_file(source.dir / ("store/" + key));
        store.before = [&](const std::string& verb, const std::string& k) {
            if (verb == "LIST")
                source.store->put(key, MemoryBody(text));
            if (verb == "GET" && k == key) {
                ++asked;
                source.store->remove(key);
            }
        };
        Failure f = failure_of([&] { restored(source, {}, nullptr, &store); });
        CHECK(f.kind == ErrorKind::data);
        CHECK(has(f.message, key));
        CHECK(asked == 6);
    }

} // TEST_SUITE
