#include "restore_fixture.hpp"
#include "wal/page_writer.hpp"
#include "wal/restore_chain.hpp"
#include "wal/restore_site.hpp"

#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <random>
#include <thread>

using namespace zl;
using namespace zl::restore_test;

namespace {

struct Failure {
    ErrorKind kind = ErrorKind::internal;
    std::string message, hint;
};

Failure failure_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& e) {
        return {e.kind(), e.message(), e.hint()};
    }
    return {ErrorKind::usage, "no failure", ""};
}

std::string dump_hex(std::uint64_t v) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(v));
    return text;
}

bool has(const std::string& text, const std::string& part) {
    const bool found = text.find(part) != std::string::npos;
    if (!found)
        MESSAGE("not in: " << text);
    return found;
}

/// Restores into a new file; its bytes.
std::string restored(Replica& source, const RestoreTarget& target = {},
                     RestoreOutcome* outcome = nullptr, ObjectStore* store = nullptr) {
    const std::string file = source.dir / "restored.db";
    std::filesystem::remove(file);
    auto restorer = source.restorer(store ? *store : *source.store);
    restorer->restore_file(target, file);
    if (outcome)
        *outcome = restorer->done();
    std::string out = whole_file(file);
    CHECK_FALSE(path_exists(source.dir / ".restored.db.zl-restore"));
    for (const char* end : {"-wal", "-shm", "-journal"})
        CHECK_FALSE(path_exists(file + end));
    std::filesystem::remove(file);
    return out;
}

RestoreTarget sequence(std::uint64_t n) {
    RestoreTarget t;
    t.sequence = n;
    return t;
}
RestoreTarget at(TimePoint time) {
    RestoreTarget t;
    t.at = time;
    return t;
}

/// A table that grows, shrinks and is rewritten; @p n segments after claim and snapshot.
void fill(Replica& source, int n, unsigned seed = 1) {
    source.sql("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v BLOB)");
    source.claim();
    source.snapshot();
    std::mt19937 random(seed);
    for (int i = 0; i < n; ++i) {
        const auto r = random();
        if (r % 10 == 7)
            source.ship("DELETE FROM t WHERE id % 3 = " + std::to_string(r % 3));
        else if (r % 10 == 8)
            source.ship("VACUUM");
        else
            source.ship("INSERT INTO t(v) SELECT randomblob(" + std::to_string(10 + r % 3000) +
                        ") FROM (SELECT 1 UNION SELECT 2 UNION SELECT 3)");
    }
    source.write_metadata();
}

/// Passes on, fails or counts, by operation and key.
class Wrapped final : public ObjectStore {
public:
    explicit Wrapped(ObjectStore& inner) : inner_(inner) {}
    std::function<void(const std::string& verb, const std::string& key)> before;
    std::atomic<int> requests = 0;

    std::string identity() const override { return inner_.identity(); }
    std::string describe(const std::string& key) const override { return inner_.describe(key); }
    std::optional<ObjectInfo> head(const std::string& key) override {
        note("HEAD", key);
        return inner_.head(key);
    }
    std::optional<ObjectInfo> get(const std::string& key, Sink& sink,
                                  const GetOptions& options) override {
        note(options.range ? "RANGE" : "GET", key);
        return inner_.get(key, sink, options);
    }
    std::string put(const std::string& key, const Body& body, const PutOptions& o) override {
        return inner_.put(key, body, o);
    }
    void remove(const std::string& key) override { inner_.remove(key); }
    void list(const std::string& prefix, const ListOptions& options,
              const std::function<bool(const ObjectInfo&)>& visit) override {
        note("LIST", prefix);
        inner_.list(prefix, options, visit);
    }
    std::string create_upload(const std::string& key, const PutOptions& o) override {
        return inner_.create_upload(key, o);
    }
    std::string upload_part(const std::string& key, const std::string& id, int n, const Body& b,
                            const std::function<void(std::int64_t)>& f) override {
        return inner_.upload_part(key, id, n, b, f);
    }
    std::string upload_part_copy(const std::string& key, const std::string& id, int n,
                                 const std::string& source, const std::string& etag,
                                 ByteRange range) override {
        return inner_.upload_part_copy(key, id, n, source, etag, range);
    }
    std::vector<PartInfo> list_parts(const std::string& key, const std::string& id) override {
        return inner_.list_parts(key, id);
    }
    void complete_upload(const std::string& key, const std::string& id,
                         const std::vector<PartInfo>& parts) override {
        inner_.complete_upload(key, id, parts);
    }
    void abort_upload(const std::string& key, const std::string& id) override {
        inner_.abort_upload(key, id);
    }
    std::vector<UploadInfo> list_uploads(const std::string& prefix) override {
        return inner_.list_uploads(prefix);
    }
    Millis clock_offset() const override { return inner_.clock_offset(); }

private:
    void note(const std::string& verb, const std::string& key) {
        ++requests;
        if (before)
            before(verb, key);
    }
    ObjectStore& inner_;
};

} // namespace

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

    TEST_CASE("an existing database is refused, or moved aside whole") {
        Replica source;
        fill(source, 3);
        const std::string file = source.dir / "here.db";
        auto restore = [&](bool force) {
            Restorer::Options o;
            o.force = force;
            auto r = source.restorer(o);
            r->restore_file({}, file);
            return r->done().moved_aside;
        };
        for (const char* end : {"", "-wal", "-shm", "-journal"}) {
            CAPTURE(end);
            write_full(open_file(file + end, O_WRONLY | O_CREAT).get(), as_bytes("old"), file);
            Failure f = failure_of([&] { restore(false); });
            CHECK(f.kind == ErrorKind::exists);
            CHECK(has(f.message, file + end));
            CHECK(has(f.hint, "--force"));
            CHECK(whole_file(file + end) == "old");
            std::filesystem::remove(file + end);
        }
        CHECK_FALSE(path_exists(source.dir / ".here.db.zl-restore"));
        {
            Sql db(file);
            db.run("PRAGMA journal_mode=WAL; CREATE TABLE old(x); INSERT INTO old VALUES(7)");
            // In use: it would go on writing into what is moved aside.
            pid_t child = ::fork();
            if (child == 0) { // another process, as POSIX locks are its own
                Failure f =
                    failure_of([&] { RestoreSite site(file, RestoreSite::Existing::force); });
                ::_exit(f.kind == ErrorKind::transient ? 0 : 1);
            }
            int status = 0;
            ::waitpid(child, &status, 0);
            CHECK(status == 0);
        }
        {
            Sql db(file);
            db.run("INSERT INTO old VALUES(8)");
        }
        write_full(open_file(file + "-wal", O_WRONLY | O_CREAT).get(), as_bytes(""), file);
        CHECK(::chmod(file.c_str(), 0640) == 0);
        source.log.text.clear();
        auto moved = restore(true);
        REQUIRE(moved.size() == 2);
        CHECK(moved[1] == moved[0] + "-wal");
        CHECK(has(moved[0], "here.db.before-restore-20"));
        CHECK(has(source.log.text, moved[0]));
        CHECK(whole_file(file) == source.bytes());
        struct stat st {};
        CHECK(::stat(file.c_str(), &st) == 0);
        CHECK((st.st_mode & 07777) == 0640);
        CHECK(Sql(moved[0]).run("SELECT sum(x) FROM old") == "15");
    }

    TEST_CASE("places where nothing can be written, and two at once") {
        Replica source;
        fill(source, 2);
        auto kind = [&](const std::string& file) {
            return failure_of([&] { source.restorer()->restore_file({}, file); }).kind;
        };
        CHECK(kind(source.dir / "no/such/dir.db") == ErrorKind::exists);
        CHECK(kind(source.dir / "store") == ErrorKind::exists);
        CHECK(kind(source.dir / "app.db/x") == ErrorKind::exists);
        CHECK(kind("") == ErrorKind::usage);
        {
            RestoreSite site(source.dir / "x.db", RestoreSite::Existing::refuse);
            CHECK(kind(source.dir / "x.db") == ErrorKind::transient);
            CHECK(kind(source.dir / "y.db") == ErrorKind::usage); // "no failure"
        }
        CHECK(kind(source.dir / "x.db") == ErrorKind::usage);
        // What a killed run left.
        std::filesystem::create_directory(source.dir / ".z.db.zl-restore");
        for (const char* name : {"lock", "db", "segments"})
            write_full(open_file(source.dir / (std::string(".z.db.zl-restore/") + name),
                                 O_WRONLY | O_CREAT)
                           .get(),
                       as_bytes("rubbish"), name);
        CHECK(kind(source.dir / "z.db") == ErrorKind::usage);
        CHECK(whole_file(source.dir / "z.db") == source.bytes());
        CHECK_FALSE(path_exists(source.dir / ".z.db.zl-restore"));
        // The name is taken while we work.
        Wrapped store(*source.store);
        store.before = [&](const std::string& verb, const std::string&) {
            if (verb == "GET")
                open_file(source.dir / "race.db", O_WRONLY | O_CREAT);
        };
        Failure f =
            failure_of([&] { source.restorer(store)->restore_file({}, source.dir / "race.db"); });
        CHECK(f.kind == ErrorKind::exists);
        CHECK(whole_file(source.dir / "race.db") == "");
        CHECK_FALSE(path_exists(source.dir / ".race.db.zl-restore"));
    }

    TEST_CASE("a source that was damaged: said, and not installed unless asked") {
        Replica source;
        source.sql(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); INSERT INTO t(v) VALUES(1),(2)");
        std::string bytes = source.bytes();
        std::memset(bytes.data() + 4096, 0x55, 100); // t's root page
        write_full(open_file(source.dir / "app.db", O_WRONLY | O_TRUNC).get(), as_bytes(bytes),
                   "db");
        source.claim();
        source.snapshot();
        Failure f = failure_of([&] { restored(source); });
        CHECK(f.kind == ErrorKind::data);
        CHECK(has(f.message, "quick_check"));
        CHECK(has(f.hint, "--check none"));
        Restorer::Options o;
        o.check = Restorer::Options::Check::none;
        source.restorer(o)->restore_file({}, source.dir / "bad.db");
        CHECK(whole_file(source.dir / "bad.db") == bytes);
    }

    TEST_CASE("--auto: what is there, what the store says, and what happens") {
        enum class Database { absent, blank, blank_with_wal, there };
        enum class Backup { good, none, denied, down, corrupt, claim_only };
        for (Database database :
             {Database::absent, Database::blank, Database::blank_with_wal, Database::there})
            for (Backup backup : {Backup::good, Backup::none, Backup::denied, Backup::down,
                                  Backup::corrupt, Backup::claim_only}) {
                CAPTURE(static_cast<int>(database));
                CAPTURE(static_cast<int>(backup));
                Replica source;
                if (backup == Backup::claim_only) {
                    source.sql("CREATE TABLE t(x)");
                    source.claim();
                } else if (backup != Backup::none) {
                    fill(source, 3);
                }
                if (backup == Backup::corrupt)
                    source.store->put(source.keys.segment(3), MemoryBody("rubbish"));
                Wrapped store(*source.store);
                store.before = [&](const std::string&, const std::string&) {
                    if (backup == Backup::denied)
                        throw Error(ErrorKind::denied, "403");
                    if (backup == Backup::down)
                        throw Error(ErrorKind::transient, "no route");
                };
                const std::string file = source.dir / "app/data.db";
                std::filesystem::create_directory(source.dir / "app");
                auto write = [&](const char* end, std::string_view text) {
                    write_full(open_file(file + end, O_WRONLY | O_CREAT).get(), as_bytes(text),
                               file);
                };
                if (database == Database::blank || database == Database::blank_with_wal)
                    write("", "");
                if (database == Database::there)
                    write("", "precious");
                if (database == Database::absent || database == Database::there ||
                    database == Database::blank_with_wal)
                    write("-wal", "stale");
                const auto before =
                    std::filesystem::file_size(file + (database == Database::absent ? "-wal" : ""));
                std::optional<AutoRestore> result;
                Failure f = failure_of([&] {
                    auto restorer = source.restorer(store);
                    result = auto_restore(*restorer, file, source.log);
                });
                if (database == Database::there || database == Database::blank_with_wal) {
                    CHECK(result == AutoRestore::kept);
                    CHECK(store.requests == 0);
                    CHECK(std::filesystem::file_size(file) == before);
                    CHECK(whole_file(file + "-wal") == "stale");
                } else if (backup == Backup::good) {
                    CHECK(result == AutoRestore::restored);
                    CHECK(whole_file(file) == source.bytes());
                    CHECK_FALSE(path_exists(file + "-wal"));
                    if (database == Database::absent)
                        CHECK(has(source.log.text, "-wal"));
                } else if (backup == Backup::none) {
                    CHECK(result == AutoRestore::nothing);
                    CHECK(path_exists(file) == (database == Database::blank));
                    CHECK_FALSE(path_exists(file + "-wal"));
                } else {
                    CHECK_FALSE(result);
                    CHECK(f.kind == (backup == Backup::denied ? ErrorKind::denied
                                     : backup == Backup::down ? ErrorKind::transient
                                                              : ErrorKind::data));
                    // An application must not find a database there.
                    CHECK(whole_file(file) == "");
                    if (backup != Backup::corrupt && database == Database::absent)
                        CHECK(whole_file(file + "-wal") == "stale");
                }
            }
    }

    TEST_CASE("--auto: a backup that goes away between two looks is no answer") {
        Replica source;
        fill(source, 3);
        Wrapped store(*source.store);
        store.before = [&](const std::string& verb, const std::string& key) {
            if (verb == "LIST" && key == source.keys.snapshots())
                std::filesystem::remove_all(source.dir / "store/db");
        };
        Failure f = failure_of([&] {
            auto restorer = source.restorer(store);
            auto_restore(*restorer, source.dir / "new.db", source.log);
        });
        CHECK(f.kind == ErrorKind::data);
    }

    TEST_CASE("to a stream: the same bytes, and nothing before they are proved") {
        Replica source;
        fill(source, 5);
        MemorySink out;
        source.restorer()->restore_stream({}, source.dir.path(), out);
        CHECK(out.text == source.bytes());
        CHECK(source.dir.names() == std::vector<std::string>{"app.db", "segment", "store"});
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
