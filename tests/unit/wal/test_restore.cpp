#include "restore_fixture.hpp"

#include "wal/page_writer.hpp"
#include "wal/restore_chain.hpp"
#include "wal/restore_site.hpp"

#include <sys/stat.h>

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
    const TimePoint first = source.times[1], last = source.times[source.sequence] + Millis(5000);
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

TEST_CASE("the lock page: never written, whatever is there") {
    Replica source(65536);
    source.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
    const std::uint32_t lock = lock_page(65536);
    // Sparse: page 1 knows nothing of it, so this is no good database, but its pages are.
    CHECK(::truncate((source.dir / "app.db").c_str(), (off_t{lock} + 3) * 65536) == 0);
    source.claim();
    source.snapshot();
    UniqueFd fd = open_file(source.dir / "app.db", O_RDWR);
    for (std::uint32_t page : {lock - 1, lock + 1, lock + 3}) {
        std::string text(65536, static_cast<char>('a' + page % 20));
        pwrite_full(fd.get(), as_bytes(text), (std::uint64_t{page} - 1) * 65536, "app.db");
    }
    source.ship();
    source.states.erase(1);
    RestoreOutcome outcome;
    Restorer::Options options;
    options.check = Restorer::Options::Check::none;
    auto restorer = source.restorer(options);
    const std::string file = source.dir / "restored.db";
    restorer->restore_file({}, file);
    CHECK(whole_file(file) == source.bytes());
    CHECK(restorer->done().pages_written == restorer->done().page_count - 1);
    CHECK(restorer->done().page_count == lock + 3);
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
        source.metadata.latest_snapshot = source.keys.snapshot(parse_time("2020-01-01T00:00:00Z"));
        source.store->put(source.metadata.latest_snapshot, MemoryBody(text));
        for (bool metadata : {false, true}) {
            if (metadata)
                source.write_metadata();
            else
                source.store->remove(source.keys.metadata());
            CHECK(restored(source) == source.bytes());
            CHECK(restored(source, at(source.times[9])) == source.states[9]);
        }
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
    CHECK(failure_of([&] { restored(source, sequence(7)); }).kind == ErrorKind::data);
    CHECK(failure_of([&] { restored(source, sequence(8)); }).kind == ErrorKind::data);
    CHECK(restored(source, at(source.times[6] - Millis(1))) == source.states[5]);
    // Whether 7 was before that moment is not known.
    CHECK(failure_of([&] { restored(source, at(source.times[6])); }).kind == ErrorKind::data);
    auto ranges = source.restorer()->list();
    REQUIRE(ranges.size() == 1);
    CHECK(ranges[0].sequences == SequenceRange{1, 6});
    CHECK(ranges[0].remarks == std::vector<std::string>{"hole: 7 missing"});
    // A snapshot behind the hole.
    source.snapshot();
    source.ship("INSERT INTO t(v) VALUES('behind')");
    source.write_metadata();
    CHECK(restored(source) == source.bytes());
    CHECK(restored(source, sequence(11)) == source.states[11]);
    CHECK(failure_of([&] { restored(source, sequence(9)); }).kind == ErrorKind::data);
    ranges = source.restorer()->list();
    REQUIRE(ranges.size() == 2);
    CHECK(ranges[0].remarks == std::vector<std::string>{"hole: 7-10 missing"});
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
    auto kind = [&](const RestoreTarget& t) { return failure_of([&] { restored(source, t); }).kind; };
    CHECK_FALSE(source.restorer()->exists());
    CHECK(kind({}) == ErrorKind::not_found);
    CHECK(failure_of([&] { source.restorer()->list(); }).kind == ErrorKind::not_found);
    // Another name below ours is not ours.
    source.store->put("db/app/other/snapshots/20260101T000000.000Z.sqlite.zst", MemoryBody("x"));
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

} // TEST_SUITE
