#include "../temp_dir.hpp"
#include "base/file.hpp"
#include "inventory/check_database.hpp"
#include "inventory/database_rows.hpp"
#include "store/open_store.hpp"
#include "wal/replica_metadata.hpp"
#include "wal/segment.hpp"
#include "wal/snapshot.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>

using namespace zl;

namespace {

constexpr std::uint32_t kPage = 512;

TimePoint moment(std::uint64_t sequence) {
    return parse_time("2026-11-22T06:00:00Z") + std::chrono::seconds(sequence);
}

/// A replica made by hand: a database of one page, whose bytes are the sequence number.
class Replica : PageSource {
    test::TempDir dir_;
    NullLog log_;

public:
    SegmentHeader next(SegmentKind kind = SegmentKind::segment) {
        SegmentHeader h;
        h.kind = kind;
        h.db_id = db_id;
        h.generation = "00000000000000aa";
        h.writer = by;
        h.host = "host";
        h.sequence = h.first_sequence = ++sequence_;
        h.time = h.first_time = moment(sequence_);
        h.page_count = 1;
        h.prev = last_;
        h.checksum_before = sum_;
        return h;
    }
    void put(SegmentHeader h) {
        const std::string file = dir_ / ".segment";
        UniqueFd fd = open_file(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
        SegmentWriter writer(fd.get(), file, kPage, h.sequence);
        if (h.kind == SegmentKind::segment) {
            fill(h.sequence);
            writer.page(1, page_);
        }
        h.checksum_after = sum_;
        writer.finish(h);
        put_text(*store, keys.segment(h.sequence), *read_file(file, 1 << 20));
        last_ = h.id();
    }
    void snapshot(DbChecksum wrong = 0) {
        SnapshotHeader h;
        h.db_id = db_id;
        h.generation = "00000000000000aa";
        h.writer = "00000000000000bb";
        h.host = "host";
        h.sequence = sequence_;
        h.chain = last_;
        h.time = h.created_at = moment(sequence_);
        MemorySink out;
        write_snapshot(*this, h, out, 1, 1);
        if (wrong) {
            // What a writer with a wrong idea of the database would have stored.
            fill(wrong);
            out.text.clear();
            write_snapshot(*this, h, out, 1, 1);
            fill(sequence_);
        }
        put_text(*store, keys.snapshot(h.time), out.text);
        snapshot_ = h;
    }
    void metadata(std::uint64_t snapshots = 1, TimePoint started = moment(1)) {
        ReplicaMetadata m;
        m.latest_snapshot = keys.snapshot(snapshot_.time);
        m.latest_snapshot_sequence = snapshot_.sequence;
        m.latest_wal_sequence = sequence_;
        m.snapshot_count = snapshots;
        m.db_identifier = db_id;
        m.format = 1;
        m.generation = snapshot_.generation;
        m.generations.push_back({snapshot_.generation, "", 0, 1, started, "host"});
        put_replica_metadata(*store, keys, m);
    }
    template <class Change> void change_metadata(Change change) {
        auto m = get_replica_metadata(*store, keys);
        change(*m);
        put_replica_metadata(*store, keys, *m);
    }
    /// The object @p from of @p other as our object @p to.
    void copy(Replica& other, const std::string& from, const std::string& to) {
        put_text(*store, to, *get_text(*other.store, from));
    }
    /// Claim, snapshot, three segments, metadata.
    void make() {
        put(next(SegmentKind::claim));
        snapshot();
        for (int i = 0; i < 3; ++i)
            put(next());
        metadata();
    }

    std::vector<Finding> check(bool full = true) {
        std::vector<Finding> found;
        NullProgress progress;
        CheckReport report([&](const Finding& f) { found.push_back(f); }, progress);
        check_database({*store, report, progress, {}, 2, full}, keys, "db/app");
        return found;
    }

    std::unique_ptr<ObjectStore> store = open_local_store(StoreUrl::parse(dir_.path()), {}, log_);
    const ReplicaKeys keys = ReplicaKeys::of_name("app");
    std::string db_id = "00000000000000cc", by = "00000000000000bb";

private:
    void fill(std::uint64_t value) {
        std::memset(page_.data(), static_cast<int>(value), page_.size());
        sum_ = page_hash(1, page_);
    }
    std::uint32_t page_size() const override { return kPage; }
    std::uint32_t page_count() const override { return 1; }
    void read(std::uint32_t, std::span<std::byte> out) override {
        std::memcpy(out.data(), page_.data(), out.size());
    }

    std::uint64_t sequence_ = 0;
    Digest last_;
    std::vector<std::byte> page_ = std::vector<std::byte>(kPage);
    DbChecksum sum_ = page_hash(1, page_);
    SnapshotHeader snapshot_;
};

} // namespace

TEST_SUITE("inventory/check_database") {
    TEST_CASE("whole: nothing is found") {
        Replica r;
        r.make();
        CHECK(r.check().empty());
        CHECK(r.check(false).empty());
    }

    TEST_CASE("a gap that a header marks is no damage") {
        Replica r;
        r.make();
        SegmentHeader h = r.next();
        h.gap_from = moment(4);
        h.resync = "gap";
        r.put(h);
        const auto found = r.check();
        REQUIRE(found.size() == 1);
        CHECK_FALSE(found[0].damage);
        CHECK(found[0].key == r.keys.segment(5));
    }

    TEST_CASE("a hole is told in moments") {
        Replica r;
        r.make();
        r.store->remove(r.keys.segment(3));
        const auto found = r.check(false);
        REQUIRE(found.size() == 1);
        CHECK(found[0].damage);
        CHECK(found[0].what == "segments 3-4 cannot be restored: missing or damaged");
        CHECK(found[0].affects == "the moments after " + format_rfc3339(moment(2)));
        CHECK(found[0].advice == "zl-restore --sequence 2 gives the last state before");
    }

    TEST_CASE("a segment that follows another one than is there") {
        Replica r;
        r.make();
        SegmentHeader h = r.next();
        h.prev = sha256({});
        r.put(h);
        const auto found = r.check(false);
        REQUIRE(found.size() == 2);
        CHECK(found[0].key == r.keys.segment(5));
        CHECK(found[0].what.find("predecessor") != std::string::npos);
        CHECK(found[1].what == "segment 5 cannot be restored: missing or damaged");
    }

    TEST_CASE("a snapshot of another state than its sequence leads to") {
        Replica r;
        r.make();
        r.snapshot(77);
        const auto found = r.check(false);
        REQUIRE_FALSE(found.empty());
        CHECK(found[0].key == r.keys.snapshot(moment(4)));
        CHECK(found[0].what == "is not of the state that " + r.keys.segment(4) + " leads to");
    }

    TEST_CASE("the oldest segment in whose place another was put is the one that is named") {
        auto only_oldest = [](Replica& r, std::uint64_t oldest) {
            for (bool full : {false, true}) {
                const auto found = r.check(full);
                REQUIRE(found.size() == 1);
                CHECK(found[0].damage);
                CHECK(found[0].key == r.keys.segment(oldest));
            }
        };
        Replica other, otherwise;
        other.db_id = "00000000000000dd";
        otherwise.by = "00000000000000ee"; // an older copy of the replica, say
        other.make();
        otherwise.make();
        for (Replica* from : {&other, &otherwise}) {
            Replica r;
            r.make();
            r.copy(*from, r.keys.segment(1), r.keys.segment(1));
            only_oldest(r, 1);
        }
        // No snapshot tells: those that follow do.
        Replica r;
        r.make();
        r.snapshot();
        r.metadata();
        r.store->remove(r.keys.segment(1));
        r.store->remove(r.keys.snapshot(moment(1)));
        r.copy(otherwise, r.keys.segment(2), r.keys.segment(2));
        const auto found = r.check(false);
        REQUIRE(found.size() == 1);
        CHECK(found[0].key == r.keys.segment(2));
    }

    TEST_CASE("a snapshot in another's place") {
        Replica r;
        r.make();
        r.snapshot();
        r.metadata(2);
        const std::string first = r.keys.snapshot(moment(1)), last = r.keys.snapshot(moment(4));
        CHECK(r.check().empty());
        const std::string text = *get_text(*r.store, last);
        r.copy(r, first, last);
        auto found = r.check(false);
        REQUIRE(found.size() == 1);
        CHECK(found[0].key == last);
        CHECK(found[0].what.ends_with("its header is of " + first));
        put_text(*r.store, first, text);
        found = r.check(false);
        REQUIRE_FALSE(found.empty());
        CHECK(found[0].key == first);
    }

    TEST_CASE("metadata.json that leads to no snapshot, though it is there") {
        Replica r;
        r.make();
        for (const std::string& wrong :
             {std::string(), std::string("db/app/snapshots/soon"), r.keys.snapshot(moment(2))}) {
            r.change_metadata([&](auto& m) { m.latest_snapshot = wrong; });
            const auto found = r.check(false);
            REQUIRE(found.size() == 1);
            CHECK(found[0].damage);
            CHECK(found[0].key == r.keys.metadata());
        }
        r.change_metadata([&](auto& m) { m.latest_snapshot_sequence = 2; });
        CHECK(r.check(false).front().key == r.keys.snapshot(moment(2))); // that one is missing
    }

    TEST_CASE("segments before the first snapshot could never be restored, until there was one") {
        Replica r;
        r.put(r.next(SegmentKind::claim));
        r.put(r.next());
        for (int i = 0; i < 3; ++i) {
            r.put(r.next());
            r.snapshot();
        }
        r.metadata(3, moment(3));
        CHECK(r.check(false).empty());
        // Retention took one that nothing needs.
        r.store->remove(r.keys.snapshot(moment(4)));
        CHECK(r.check(false).empty());
        r.store->remove(r.keys.snapshot(moment(3)));
        const auto found = r.check(false);
        REQUIRE(found.size() == 1);
        CHECK(found[0].damage);
        CHECK(found[0].what ==
              "segments 2-4 cannot be restored: the snapshot before is missing or damaged");
    }

    TEST_CASE("a generation that has just begun is a note") {
        Replica r;
        r.put(r.next(SegmentKind::claim));
        r.put(r.next());
        const auto found = r.check(false);
        REQUIRE(found.size() == 1);
        CHECK_FALSE(found[0].damage);
        DatabaseRow row = look_at_database(*r.store, r.keys, "db/app", 2, {}, 10);
        CHECK_FALSE(row.damaged);
        CHECK(row.ranges.empty());
        put_text(*r.store, r.keys.snapshot(moment(9)), "no snapshot");
        row = look_at_database(*r.store, r.keys, "db/app", 2, {}, 10);
        CHECK(row.damaged);
        CHECK(row.problem.find(r.keys.snapshot(moment(9))) != std::string::npos);
    }
}
