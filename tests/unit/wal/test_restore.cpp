#include "restore_helpers.hpp"
#include "wal/page_writer.hpp"

#include <sys/stat.h>

using namespace zl;
using namespace zl::restore_test;

TEST_SUITE("wal/restore") {

    TEST_CASE("latest and each sequence, at every page size, each page once") {
        for (std::uint32_t page_size : {512U, 1024U, 4096U, 65536U}) {
            CAPTURE(page_size);
            Replica source(page_size);
            fill(source, 24, page_size);
            RestoreOutcome outcome;
            CHECK(restored(source, {}, &outcome) == source.bytes());
            CHECK(outcome.sequence == source.sequence);
            CHECK(outcome.pages_written == outcome.page_count);
            CHECK(outcome.page_count == source.bytes().size() / page_size);
            for (std::uint64_t s = 1; s <= source.sequence; ++s) {
                CAPTURE(s);
                CHECK(restored(source, sequence(s), &outcome) == source.states[s]);
                CHECK(outcome.pages_written == outcome.page_count);
            }
            CHECK(source.log.text == "");
        }
    }

    TEST_CASE("few requests, however many segments") {
        Replica source;
        fill(source, 60);
        Wrapped store(*source.store);
        RestorePlan plan = source.restorer(store)->plan({});
        CHECK(store.requests <= 9);
        CHECK(plan.segments.size() == 60);
        CHECK(plan.sequence == source.sequence);
        std::uint64_t size = plan.snapshot_size;
        for (const auto& s : plan.segments)
            size += s.size;
        CHECK(plan.bytes == size);
        CHECK(plan.requests == 61);
        store.requests = 0;
        source.restorer(store)->plan(at(source.times[30]));
        CHECK(store.requests <= 18);
    }

    TEST_CASE("moments: the state is exactly that of the last segment by then") {
        Replica source;
        source.step = Millis(1733);
        fill(source, 12);
        source.snapshot();
        for (int i = 0; i < 12; ++i)
            source.ship("INSERT INTO t(v) VALUES(randomblob(500))");
        source.snapshot();
        for (int i = 0; i < 5; ++i)
            source.ship("INSERT INTO t(v) VALUES(randomblob(500))");
        source.write_metadata();
        std::mt19937 random(5);
        const TimePoint first = source.times[1],
                        last = source.times[source.sequence] + Millis(5000);
        for (int i = 0; i < 50; ++i) {
            TimePoint t = first + Millis(random() % static_cast<unsigned>((last - first).count()));
            if (i < 10) // on the very millisecond, and one off
                t = source.times[3 + static_cast<std::uint64_t>(i) * 2] - Millis(i % 2);
            std::uint64_t wanted = 0;
            for (auto [s, time] : source.times)
                if (time <= t)
                    wanted = s;
            CAPTURE(format_rfc3339(t));
            RestoreOutcome outcome;
            CHECK(restored(source, at(t), &outcome) == source.states[wanted]);
            CHECK(outcome.sequence == wanted);
            CHECK(outcome.time == source.times[wanted]);
        }
        Failure f = failure_of([&] { restored(source, at(first - Millis(1))); });
        CHECK(f.kind == ErrorKind::not_found);
        CHECK(has(f.hint, format_rfc3339(first)));
    }

    TEST_CASE("the lock page is never written, and large holes stay holes") {
        constexpr std::uint32_t size = 65536, lock = lock_page(size);
        /// Zeros but for some pages; more than there is memory for in a test.
        class Sparse final : public PageSource {
        public:
            std::uint32_t page_size() const override { return size; }
            std::uint32_t page_count() const override { return lock + 3; }
            void read(std::uint32_t first, std::span<std::byte> out) override {
                for (std::size_t at = 0; at < out.size(); at += size, ++first)
                    std::memset(out.data() + at, value(first), size);
            }
            static int value(std::uint32_t page) {
                return page == 1 || page == lock - 1 || page == lock + 1 ? 'a' + int(page % 7) : 0;
            }
        } pages;
        Replica source(size);
        SnapshotHeader h;
        h.db_id = source.kDbId;
        h.writer = source.kWriter;
        h.generation = source.generation = "0000000000000011";
        h.sequence = 1;
        h.time = h.created_at = source.time;
        MemorySink blob;
        write_snapshot(pages, h, blob, 3, 2);
        source.store->put(source.keys.snapshot(h.created_at), MemoryBody(blob.text));

        SegmentHeader s;
        s.db_id = h.db_id;
        s.writer = h.writer;
        s.generation = h.generation;
        s.sequence = s.first_sequence = 2;
        s.time = s.first_time = h.time + Millis(1000);
        s.page_count = lock + 2; // one shorter
        const std::string changed(size, 'z'), zeros(size, '\0'),
            old(size, static_cast<char>(Sparse::value(lock + 1)));
        s.checksum_before = h.checksum;
        s.checksum_after = h.checksum - page_hash(lock + 1, as_bytes(old)) +
                           page_hash(lock + 1, as_bytes(changed)) -
                           page_hash(lock + 3, as_bytes(zeros));
        UniqueFd fd = open_file(source.dir / "segment", O_RDWR | O_CREAT);
        SegmentWriter writer(fd.get(), "segment", size, 2);
        writer.page(lock + 1, as_bytes(changed));
        writer.finish(s);
        source.store->put(source.keys.segment(2), MemoryBody(whole_file(source.dir / "segment")));

        Restorer::Options options;
        options.check = Restorer::Options::Check::none;
        auto restorer = source.restorer(options);
        const std::string file = source.dir / "restored.db";
        restorer->restore_file({}, file);
        struct stat st {};
        REQUIRE(::stat(file.c_str(), &st) == 0);
        CHECK(st.st_size == off_t{lock + 2} * size);
        CHECK(st.st_blocks < 4096);
        CHECK(restorer->done().page_count == lock + 2);
        CHECK(restorer->done().pages_written == lock + 1);
        UniqueFd in = open_file(file, O_RDONLY);
        std::string got(size, '?');
        for (std::uint32_t page : {1U, 2U, lock - 1, lock, lock + 1, lock + 2}) {
            CAPTURE(page);
            pread_full(in.get(), std::as_writable_bytes(std::span(got)),
                       (std::uint64_t{page} - 1) * size, file);
            CHECK((got == std::string(size, page == lock + 1 ? 'z' : char(Sparse::value(page)))));
        }
    }

    TEST_CASE("shrinking: pages beyond the end do not come back") {
        Replica source;
        source.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
        source.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) "
                   "INSERT INTO t SELECT i, randomblob(3000) FROM n");
        source.claim();
        source.snapshot();
        source.ship("UPDATE t SET v = randomblob(3000) WHERE id > 900");
        const std::size_t before = source.bytes().size();
        source.ship("DELETE FROM t WHERE id > 10");
        source.ship("VACUUM");
        CHECK(source.bytes().size() < before / 10);
        RestoreOutcome outcome;
        CHECK(restored(source, {}, &outcome) == source.bytes());
        CHECK(outcome.pages_written == outcome.page_count);
        // And growing again.
        source.ship("INSERT INTO t SELECT id + 5000, randomblob(3000) FROM t");
        CHECK(restored(source) == source.bytes());
    }

    TEST_CASE("merged segments: fewest objects, also where the single ones are gone") {
        Replica source;
        fill(source, 30);
        source.merge(3, 5);
        source.merge(6, 8);
        source.merge(3, 8);
        source.merge(9, 20);
        RestorePlan plan = source.restorer()->plan({});
        CHECK(plan.segments.size() == 1 + 2 + 11);
        CHECK(plan.segments[1].range == SequenceRange{3, 8});
        CHECK(restored(source) == source.states[31]);
        CHECK(restored(source, sequence(7)) == source.states[7]);
        source.forget(3, 8);
        source.forget(10, 18);
        CHECK(restored(source) == source.states[31]);
        CHECK(restored(source, sequence(5)) == source.states[5]);
        CHECK(restored(source, sequence(8)) == source.states[8]);
        CHECK(restored(source, sequence(9)) == source.states[9]);
        Failure f = failure_of([&] { restored(source, sequence(4)); });
        CHECK(f.kind == ErrorKind::not_found);
        CHECK(has(f.hint, "--sequence 2 and --sequence 5"));
        RestoreOutcome outcome;
        CHECK(restored(source, at(source.times[7]), &outcome) == source.states[5]);
        CHECK(restored(source, at(source.times[19]), &outcome) == source.states[9]);
        CHECK(restored(source, at(source.times[20]), &outcome) == source.states[20]);
    }

    TEST_CASE("generations: a restore stays within one") {
        Replica source;
        fill(source, 6);
        const std::string first = source.generation, tip = source.bytes();
        // An older copy appears: a branch from sequence 4.
        write_full(open_file(source.dir / "app.db", O_WRONLY | O_TRUNC).get(),
                   as_bytes(source.states[4]), "app.db");
        const std::uint64_t claim = source.claim(4);

        SUBCASE("no snapshot of the new one yet") {
            source.log.text.clear();
            RestoreOutcome outcome;
            CHECK(restored(source, {}, &outcome) == tip);
            CHECK(outcome.sequence == 7);
            CHECK(has(source.log.text, "no snapshot"));
            source.ship("INSERT INTO t(v) VALUES('new')");
            CHECK(restored(source, {}, &outcome) == tip);
            CHECK(restored(source, at(source.times[8]), &outcome) == tip);
            Failure f = failure_of([&] { restored(source, sequence(9)); });
            CHECK(f.kind == ErrorKind::not_found);
            CHECK(has(f.message, source.generation));
        }
        SUBCASE("both are restorable") {
            source.snapshot();
            source.ship("INSERT INTO t(v) VALUES('new')");
            source.ship("INSERT INTO t(v) VALUES('newer')");
            for (bool metadata : {false, true}) {
                if (metadata)
                    source.write_metadata();
                CHECK(restored(source) == source.bytes());
                RestoreTarget old;
                old.generation = first;
                CHECK(restored(source, old) == tip);
                old.generation = source.generation;
                CHECK(restored(source, old) == source.bytes());
                old.generation = "00000000000000ff";
                CHECK(failure_of([&] { restored(source, old); }).kind == ErrorKind::not_found);
                for (std::uint64_t s = 1; s <= source.sequence; ++s) {
                    CHECK(restored(source, sequence(s)) == source.states[s]);
                    CHECK(restored(source, at(source.times[s])) == source.states[s]);
                }
                RestoreTarget within = at(source.times[source.sequence]);
                within.generation = first;
                CHECK(restored(source, within) == tip);
            }
            CHECK(source.states[claim] == source.states[4]);
            // Clocks: the newer generation's snapshot looks older than that of the first one.
            auto text = get_text(*source.store, source.metadata.latest_snapshot, 1 << 30).value();
            source.store->remove(source.metadata.latest_snapshot);
            source.metadata.latest_snapshot =
                source.keys.snapshot(parse_time("2020-01-01T00:00:00Z"));
            source.store->put(source.metadata.latest_snapshot, MemoryBody(text));
            for (bool metadata : {false, true}) {
                if (metadata)
                    source.write_metadata();
                else
                    source.store->remove(source.keys.metadata());
                CHECK(restored(source) == source.bytes());
                CHECK(restored(source, at(source.times[9])) == source.states[9]);
            }
            // With the first generation's end gone, only metadata tells which snapshot is the
            // newest.
            source.forget(5, 7);
            CHECK(restored(source) == source.bytes());
        }
    }

    TEST_CASE("gaps: the state before, and it is said") {
        Replica source;
        fill(source, 5);
        source.gap_from = source.time + Millis(100);
        source.time += Millis(60000);
        const auto gap = *source.gap_from;
        source.ship("INSERT INTO t(v) VALUES('after the gap')");
        source.ship("INSERT INTO t(v) VALUES('later')");
        RestoreOutcome outcome;
        source.log.text.clear();
        CHECK(restored(source, at(gap + Millis(500)), &outcome) == source.states[6]);
        CHECK(has(source.log.text, "were lost"));
        CHECK(has(source.log.text, format_rfc3339(gap)));
        source.log.text.clear();
        CHECK(restored(source, at(gap - Millis(50)), &outcome) == source.states[6]);
        CHECK(restored(source, at(source.times[7])) == source.states[7]);
        CHECK(restored(source) == source.bytes());
        CHECK(source.log.text == "");
        auto ranges = source.restorer()->list();
        REQUIRE(ranges.size() == 1);
        REQUIRE(ranges[0].remarks.size() == 1);
        CHECK(ranges[0].remarks[0] ==
              "gap: " + format_rfc3339(gap) + " - " + format_rfc3339(source.times[7]));
    }

    TEST_CASE("holes: named, with the last good moment and a command that restores to it") {
        Replica source;
        fill(source, 10);
        source.store->remove(source.keys.segment(7));
        Failure f = failure_of([&] { restored(source); });
        CHECK(f.kind == ErrorKind::data);
        CHECK(has(f.message, source.keys.segment(7) + ": missing"));
        CHECK(has(f.hint, format_rfc3339(source.times[6]) + " (sequence 6)"));
        CHECK(has(f.hint, "restored.db app --sequence 6"));
        CHECK(restored(source, sequence(6)) == source.states[6]);
        // What is behind the hole shows that there is one.
        source.store->remove(source.keys.metadata());
        CHECK(failure_of([&] { restored(source); }).kind == ErrorKind::data);
        source.write_metadata();
        CHECK(failure_of([&] { restored(source, sequence(7)); }).kind == ErrorKind::data);
        CHECK(failure_of([&] { restored(source, sequence(8)); }).kind == ErrorKind::data);
        CHECK(restored(source, at(source.times[6] - Millis(1))) == source.states[5]);
        // Whether 7 was before that moment is not known.
        CHECK(failure_of([&] { restored(source, at(source.times[6])); }).kind == ErrorKind::data);
        auto ranges = source.restorer()->list();
        REQUIRE(ranges.size() == 1);
        CHECK(ranges[0].sequences == SequenceRange{1, 6});
        CHECK(ranges[0].remarks ==
              std::vector<std::string>{"hole: 7 missing, nothing behind it can be restored"});
        // A snapshot behind the hole.
        source.snapshot();
        source.ship("INSERT INTO t(v) VALUES('behind')");
        source.write_metadata();
        CHECK(restored(source) == source.bytes());
        CHECK(restored(source, sequence(11)) == source.states[11]);
        CHECK(failure_of([&] { restored(source, sequence(9)); }).kind == ErrorKind::data);
        ranges = source.restorer()->list();
        REQUIRE(ranges.size() == 2);
        CHECK(ranges[0].remarks ==
              std::vector<std::string>{"hole: 7 missing, nothing up to 10 can be restored"});
        CHECK(ranges[1].sequences == SequenceRange{11, 12});
        CHECK(ranges[1].current);
        CHECK_FALSE(ranges[0].current);
        // The newest ones are gone: metadata knows better.
        source.store->remove(source.keys.segment(12));
        f = failure_of([&] { restored(source); });
        CHECK(f.kind == ErrorKind::data);
        CHECK(has(f.hint, "--sequence 11"));
        CHECK(failure_of([&] { restored(source, sequence(13)); }).kind == ErrorKind::not_found);
    }

    TEST_CASE("nothing there") {
        Replica source;
        auto kind = [&](const RestoreTarget& t) {
            return failure_of([&] { restored(source, t); }).kind;
        };
        CHECK_FALSE(source.restorer()->exists());
        CHECK(kind({}) == ErrorKind::not_found);
        CHECK(failure_of([&] { source.restorer()->list(); }).kind == ErrorKind::not_found);
        // Another name below ours is not ours.
        source.store->put("db/app/other/snapshots/20260101T000000.000Z.sqlite.zst",
                          MemoryBody("x"));
        CHECK_FALSE(source.restorer()->exists());
        source.sql("CREATE TABLE t(x)");
        source.claim();
        CHECK(source.restorer()->exists());
        CHECK(kind({}) == ErrorKind::data);
        source.snapshot();
        CHECK(kind({}) == ErrorKind::usage); // "no failure"
        CHECK(kind(sequence(0)) == ErrorKind::not_found);
        CHECK(kind(sequence(2)) == ErrorKind::not_found);
    }

    TEST_CASE("frames of the snapshot that newer pages cover are not fetched, or not looked at") {
        for (bool compressible : {false, true}) {
            CAPTURE(compressible);
            Replica source(65536);
            source.sql("CREATE TABLE t(x)");
            // Eight frames of sixteen pages behind the two of a real database.
            std::string bytes = source.bytes();
            std::mt19937_64 random(7);
            for (std::size_t i = 2; i < 128; ++i) {
                std::string page(65536, static_cast<char>('a' + i % 26));
                for (std::size_t at = 0; at < (compressible ? 64U : page.size()); at += 8) {
                    const std::uint64_t word = random();
                    std::memcpy(page.data() + at, &word, 8);
                }
                bytes += page;
            }
            auto write = [&] {
                write_full(open_file(source.dir / "app.db", O_WRONLY | O_TRUNC).get(),
                           as_bytes(bytes), "app.db");
            };
            write();
            source.claim();
            source.snapshot();
            for (std::size_t i = 3 * 16; i < 5 * 16; ++i) // frames 3 and 4
                bytes[i * 65536 + 9] = static_cast<char>(bytes[i * 65536 + 9] ^ 1);
            write();
            source.ship();
            auto plan = source.restorer()->plan({});
            REQUIRE(plan.snapshot.frames.size() == 8);
            std::uint64_t before = 0;
            for (int i = 0; i < 3; ++i)
                before += plan.snapshot.frames[static_cast<std::size_t>(i)].compressed_size;
            // Not read, so it does not matter.
            const std::string path = source.dir / ("store/" + plan.snapshot_key);
            std::string blob = whole_file(path);
            blob[before + 30] = static_cast<char>(blob[before + 30] ^ 4);
            write_full(open_file(path, O_WRONLY).get(), as_bytes(blob), path);

            Wrapped store(*source.store);
            int ranges = 0;
            store.before = [&](const std::string& verb, const std::string& key) {
                ranges += verb == "RANGE" && key == plan.snapshot_key;
            };
            Restorer::Options options;
            options.check = Restorer::Options::Check::none;
            auto restorer = source.restorer(store, options);
            ranges = 0;
            restorer->plan({});
            const int for_index = ranges;
            ranges = 0;
            restorer->restore_file({}, source.dir / "out.db");
            CHECK(whole_file(source.dir / "out.db") == bytes);
            CHECK(restorer->done().pages_written == 128);
            if (compressible) { // one request more would cost more
                CHECK(ranges - for_index == 1);
            } else {
                CHECK(ranges - for_index == 2);
                CHECK(restorer->done().bytes_fetched < plan.bytes - (2 << 20));
            }
        }
    }

    TEST_CASE("listing: what there is") {
        Replica source;
        fill(source, 10);
        source.step = Millis(60000);
        for (int i = 0; i < 4; ++i)
            source.ship("INSERT INTO t(v) VALUES(randomblob(50))");
        source.merge(12, 15);
        source.forget(12, 15);
        source.step = Millis(1000);
        source.ship("INSERT INTO t(v) VALUES(randomblob(50))");
        source.snapshot();
        source.ship("INSERT INTO t(v) VALUES(randomblob(50))");
        source.write_metadata();
        const std::string first = source.generation;
        source.claim(17);
        source.snapshot();
        source.ship("INSERT INTO t(v) VALUES(randomblob(50))");
        source.write_metadata();
        auto ranges = source.restorer()->list();
        REQUIRE(ranges.size() == 2);
        CHECK(ranges[0].generation == first);
        CHECK(ranges[0].parent == "");
        CHECK(ranges[0].sequences == SequenceRange{1, 17});
        CHECK(ranges[0].from == source.times[1]);
        CHECK(ranges[0].to == source.times[17]);
        CHECK(ranges[0].snapshots == 2);
        CHECK(ranges[0].segments == 10 + 1 + 2);
        CHECK(ranges[0].granularity == "~3m, segment");
        CHECK_FALSE(ranges[0].current);
        CHECK(ranges[1].parent == first);
        CHECK(ranges[1].fork_sequence == 17);
        CHECK(ranges[1].sequences == SequenceRange{18, 19});
        CHECK(ranges[1].current);
        CHECK(ranges[1].granularity == "segment");
        CHECK(ranges[0].remarks.empty());
    }

    TEST_CASE("a set of pages") {
        PageSet set(200000);
        std::mt19937 random(3);
        std::map<std::uint32_t, bool> twin;
        for (int i = 0; i < 5000; ++i) {
            const auto page = static_cast<std::uint32_t>(1 + random() % 200000);
            CHECK(set.insert(page) == !twin[page]);
            twin[page] = true;
        }
        CHECK(set.size() + 0 == static_cast<std::uint64_t>(std::count_if(
                                    twin.begin(), twin.end(), [](auto& p) { return p.second; })));
        for (std::uint32_t page = 1; page <= 200000; ++page)
            if (set.contains(page) != twin.contains(page))
                FAIL("page " << page);
    }

} // TEST_SUITE
