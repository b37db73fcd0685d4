#include "store/forwarding_store.hpp"
#include "../transfer/fixture.hpp"
#include "wal/disk_margin.hpp"
#include "wal/segment_uploader.hpp"
#include "wal/ship_state.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

using namespace zl;
using namespace zl::test;
namespace fs = std::filesystem;
using std::chrono::milliseconds;

namespace {

constexpr std::uint32_t kPage = 4096;
const ReplicaKeys kKeys("db/shop/web1/");

std::vector<std::string> files(const std::string& dir) {
    std::vector<std::string> out;
    for (const auto& f : fs::directory_iterator(dir))
        if (!f.path().filename().string().starts_with("state.db"))
            out.push_back(f.path().filename().string());
    std::sort(out.begin(), out.end());
    return out;
}

ErrorKind kind_of(const std::function<void()>& f, std::string* text = nullptr) {
    try {
        f();
    } catch (const Error& e) {
        if (text)
            *text = e.message() + " | " + e.hint();
        return e.kind();
    }
    FAIL("no error");
    return ErrorKind::internal;
}

SegmentHeader next_header(ShipState& state, const std::string& host) {
    QueuedSegment last = state.newest();
    SegmentHeader h;
    h.kind = last.sequence == 0 ? SegmentKind::claim : SegmentKind::segment;
    h.db_id = "00000000000000db";
    h.generation = "000000000000000a";
    h.writer = state.writer();
    h.host = host;
    h.sequence = h.first_sequence = last.sequence + 1;
    h.time = h.first_time = std::max(now_wall(), last.time + milliseconds(1));
    h.page_size = kPage;
    h.page_count = 300;
    h.prev = last.id;
    return h;
}

/// Makes the next segment, of one page, whose bytes and hash are told by @p seed.
void capture(ShipState& state, std::uint32_t seed = 1, const std::string& host = "web1") {
    SegmentHeader h = next_header(state, host);
    std::string path = state.temp_path(h.sequence);
    UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
    SegmentWriter writer(fd.get(), path, kPage, h.sequence);
    if (h.kind == SegmentKind::segment)
        writer.page(2, as_bytes(noise(kPage, seed)));
    QueuedSegment q;
    q.size = writer.finish(h);
    q.sequence = h.sequence;
    q.id = h.id();
    q.generation = h.generation;
    q.kind = h.kind;
    q.time = h.time;
    q.frames = h.frames;
    ShipPosition to;
    to.generation = h.generation;
    to.sequence = h.sequence;
    to.id = q.id;
    to.time = h.time;
    to.page_size = kPage;
    to.page_count = h.page_count;
    to.checksum = h.sequence << 40;
    to.wal = WalPosition{{1, 2}, h.sequence, {3, 4}};
    to.device = 5;
    to.inode = 6;
    state.commit_segment(fd.get(), q, to, {{2, h.sequence}, {129, h.sequence}});
}

SegmentUploader uploader(ObjectStore& store, ShipState& state, bool conditional = true) {
    static NullLog log;
    SegmentUploader::Options o;
    o.conditional = conditional;
    return {store, kKeys, state, o, log};
}

void send_all(ObjectStore& store, ShipState& state, bool conditional = true) {
    SegmentUploader up = uploader(store, state, conditional);
    while (up.send_next(UINT64_MAX)) {
    }
}

/// Runs @p f in a child that dies at @p point. False: it got to its end.
bool killed_at(const std::string& point, const std::function<void()>& f) {
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::setenv("ZL_CRASH_AT", point.c_str(), 1);
        try {
            f();
        } catch (const std::exception& e) {
            std::fprintf(stderr, "child: %s\n", e.what());
            ::_exit(9);
        }
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK_FALSE((WIFEXITED(status) && WEXITSTATUS(status) != 0));
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/// What must hold of every state that was opened.
void check_sound(ShipState& state) {
    std::vector<std::string> expected;
    std::uint64_t from = state.acknowledged().sequence + 1, bytes = 0;
    for (std::uint64_t n = from; n <= state.newest().sequence; ++n) {
        auto q = state.queued(n);
        REQUIRE(q);
        expected.push_back(fs::path(state.queued_path(n)).filename());
        UniqueFd fd = open_file(state.queued_path(n), O_RDONLY);
        CHECK(verify_segment_file(fd.get(), "queued").id() == q->id);
        bytes += q->size;
    }
    CHECK(files(state.directory()) == expected);
    CHECK(state.queue_size().segments == expected.size());
    CHECK(state.queue_size().bytes == bytes);
    if (auto at = state.position()) {
        CHECK(at->sequence == state.newest().sequence);
        CHECK(at->id == state.newest().id);
        // Hashes are those of the position, never of a state beside it.
        CHECK(state.hashes_of({2, 129}) == std::vector<std::uint64_t>{at->sequence, at->sequence});
        CHECK(at->wal->frame == at->sequence);
    }
}

/// The segments of a replica, each naming the one before it; their count.
std::uint64_t check_chain(ObjectStore& store) {
    Digest prev;
    for (std::uint64_t n = 1;; ++n) {
        auto h = get_segment_header(store, kKeys.segment(n));
        if (!h)
            return n - 1;
        CHECK(h->sequence == n);
        CHECK(h->prev == prev);
        prev = h->id();
    }
}

/// A host that takes over the replica's head.
void adopt_head(ObjectStore& store, ShipState& state) {
    ReplicaHead head = read_replica_head(store, kKeys);
    QueuedSegment q;
    q.sequence = head.segment->sequence;
    q.id = head.segment->id();
    q.generation = head.segment->generation;
    q.time = head.segment->time;
    state.adopt(q);
}

} // namespace

TEST_SUITE("wal/disk_margin") {

    TEST_CASE("a disk is low at a tenth, at 1 GiB, or when it will be before we look again") {
        using std::chrono::milliseconds;
        using Left = DiskMargin::Left;
        constexpr std::uint64_t kMiB = 1 << 20;
        const DiskMargin::Time t0{};
        DiskMargin still;
        CHECK((still.left(5 * kMiB, 40 * kMiB, t0) == Left::enough));
        CHECK((still.left(3 * kMiB, 40 * kMiB, t0 + milliseconds(20)) == Left::little));
        CHECK((still.left(1100 * kMiB, 400'000 * kMiB, t0 + milliseconds(2000)) == Left::enough));
        DiskMargin burst; // 6 MiB at once are no rate; the same again would have to be too much
        CHECK((burst.left(26 * kMiB, 100 * kMiB, t0) == Left::enough));
        CHECK((burst.left(20 * kMiB, 100 * kMiB, t0 + milliseconds(100)) == Left::enough));
        CHECK((burst.left(9 * kMiB, 100 * kMiB, t0 + milliseconds(600)) == Left::none));
        CHECK((burst.left(11 * kMiB, 100 * kMiB, t0 + milliseconds(9000)) == Left::enough));
        DiskMargin slow, fast, freed;
        for (int i = 0; i <= 100; ++i) { // 5 s: 1 MiB/s, 6 MiB/s, and growing
            const auto now = t0 + milliseconds(50 * i);
            const auto n = static_cast<std::uint64_t>(i);
            CHECK((slow.left(40 * kMiB - n * kMiB / 20, 100 * kMiB, now) == Left::enough));
            // 10 MiB is the tenth, 12 MiB go in the 2 s: little below 22 MiB, which is after 3 s,
            // none below 12 MiB, after 4.7 s.
            const Left left = fast.left(40 * kMiB - n * kMiB * 6 / 20, 100 * kMiB, now);
            if (i < 58 || (i > 62 && i < 90) || i > 96)
                CHECK((left == (i > 93 ? Left::none : i > 60 ? Left::little : Left::enough)));
            CHECK((freed.left(11 * kMiB + n * kMiB, 100 * kMiB, now) == Left::enough));
        }
    }
}

TEST_SUITE("wal/ship state") {
    TEST_CASE("a new directory is private and has a writer id that stays") {
        TempDir dir;
        std::string path = dir / "app.db.zl";
        std::string writer;
        {
            ShipState state(path);
            writer = state.writer();
            CHECK(writer.size() == 16);
            CHECK(writer.find_first_not_of("0123456789abcdef") == std::string::npos);
            CHECK_FALSE(state.position());
            CHECK(state.newest().sequence == 0);
            CHECK(state.acknowledged().sequence == 0);
            CHECK_FALSE(state.oldest());
            state.set_note("db_id", "x");
            state.set_note("gap_from", "y");
            state.clear_note("gap_from");
        }
        struct stat st {};
        REQUIRE(::stat(path.c_str(), &st) == 0);
        CHECK((st.st_mode & 0777) == 0700);
        REQUIRE(::stat((path + "/state.db").c_str(), &st) == 0);
        CHECK((st.st_mode & 0777) == 0600);
        ShipState again(path);
        CHECK(again.writer() == writer);
        CHECK(again.note("db_id") == "x");
        CHECK_FALSE(again.note("gap_from"));
        CHECK(ShipState(dir / "other").writer() != writer);
    }

    TEST_CASE("the queue is first in, first out, and survives reopening") {
        TempDir dir;
        std::optional<ShipPosition> before;
        {
            ShipState state(dir.path());
            for (std::uint32_t i = 1; i <= 3; ++i)
                capture(state, i);
            before = state.position();
            check_sound(state);
        }
        ShipState state(dir.path());
        check_sound(state);
        auto after = state.position();
        REQUIRE(after);
        CHECK(after->generation == before->generation);
        CHECK(after->time == before->time);
        CHECK(after->page_size == kPage);
        CHECK(after->page_count == 300);
        CHECK(after->checksum == before->checksum);
        CHECK(after->wal == before->wal);
        CHECK(after->device == 5);
        CHECK(after->inode == 6);
        CHECK(state.oldest()->kind == SegmentKind::claim);
        CHECK(kind_of([&] { state.acknowledge(2, "k"); }) == ErrorKind::internal);
        for (std::uint64_t n = 1; n <= 3; ++n) {
            QueuedSegment q = *state.oldest();
            CHECK(q.sequence == n);
            CHECK_FALSE(q.attempted);
            CHECK_FALSE(state.begin_sending(n - 1));
            CHECK(state.begin_sending(n)->id == q.id);
            state.mark_attempted(n);
            CHECK(state.oldest()->attempted);
            state.acknowledge(n, kKeys.segment(n));
            CHECK(state.acknowledged().id == q.id);
            CHECK(state.acknowledged().time == q.time);
            check_sound(state);
        }
        auto entries = state.entries(CatalogueEntry::Kind::segment);
        REQUIRE(entries.size() == 3);
        CHECK(entries[2].key == kKeys.segment(3));
        CHECK(entries[2].range == SequenceRange{3, 3});
        state.move_wal(std::nullopt);
        CHECK_FALSE(state.position()->wal);
        CHECK(state.position()->page_count == 300);
    }

    TEST_CASE("what was sent, or is being sent, is not dropped with what follows it") {
        TempDir dir;
        ShipState state(dir / "app.db.zl");
        for (std::uint32_t n = 1; n <= 4; ++n)
            capture(state, n);
        REQUIRE(state.begin_sending(9));
        state.drop_unsent(1); // another thread's wish, while the PUT is under way
        CHECK(state.newest().sequence == 1);
        CHECK(files(state.directory()).size() == 1);
        state.mark_attempted(1);
        ShipState(dir / "app.db.zl").drop_unsent(1); // the next run
        CHECK(state.queued(1));
        state.drop_queue();
        CHECK_FALSE(state.oldest());
    }

    TEST_CASE("a segment out of order, or of another position, is our bug") {
        TempDir dir;
        ShipState state(dir.path());
        capture(state);
        UniqueFd fd = open_file(state.temp_path(3), O_RDWR | O_CREAT);
        QueuedSegment q;
        ShipPosition to;
        q.sequence = to.sequence = 3;
        CHECK(kind_of([&] { state.commit_segment(fd.get(), q, to, {}); }) == ErrorKind::internal);
        q.sequence = 2;
        CHECK(kind_of([&] { state.commit_segment(fd.get(), q, to, {}); }) == ErrorKind::internal);
        CHECK(kind_of([&] { state.put_hashes(1, {1}); }) == ErrorKind::internal);
        to = *state.position();
        to.sequence = 7;
        CHECK(kind_of([&] { state.set_position(to); }) == ErrorKind::internal);
        CHECK(kind_of([&] { state.adopt(q); }) == ErrorKind::internal); // segments are queued
        CHECK(state.newest().sequence == 1);
    }

    TEST_CASE("page hashes: in runs, by page, changed, shrunk and counted") {
        TempDir dir;
        ShipState state(dir.path());
        std::vector<std::uint64_t> all(1000);
        for (std::size_t i = 0; i < all.size(); ++i)
            all[i] = 0xFEDCBA9876543210u - i;
        all[600] = 0; // the lock page has none
        state.begin_rehash();
        state.put_hashes(1, {all.begin(), all.begin() + 130});
        state.put_hashes(131, {all.begin() + 130, all.end()});
        CHECK(state.hashes(1, 1000) == all);
        CHECK(state.hashed_pages() == 999);
        CHECK(state.hashes(128, 3) == std::vector<std::uint64_t>{all[127], all[128], all[129]});
        CHECK(state.hashes(999, 4) == std::vector<std::uint64_t>{all[998], all[999], 0, 0});
        CHECK(state.hashes(5000, 2) == std::vector<std::uint64_t>{0, 0});
        CHECK(state.hashes_of({1, 2, 128, 129, 601, 1000, 4000}) ==
              std::vector<std::uint64_t>{all[0], all[1], all[127], all[128], 0, all[999], 0});
        capture(state); // page_count 300; changes pages 2 and 129
        all.resize(300);
        all[1] = all[128] = 1;
        CHECK(state.hashes(1, 300) == all);
        CHECK(state.hashes(301, 800) == std::vector<std::uint64_t>(800, 0));
        CHECK(state.hashed_pages() == 300);
        // Another scan replaces all of them, and takes the position away.
        state.begin_rehash();
        CHECK_FALSE(state.position());
        CHECK(state.hashed_pages() == 0);
        state.put_hashes(1, {7, 8});
        CHECK(ShipState(dir.path(), ShipState::Access::look).hashed_pages() == 0); // not yet written
        CHECK(state.hashes(1, 3) == std::vector<std::uint64_t>{7, 8, 0});
        CHECK(state.newest().sequence == 1);
    }

    TEST_CASE("a rotten page hash is noticed, not used") {
        TempDir dir;
        ShipState state(dir.path());
        capture(state);
        {
            Db db(dir / "state.db");
            db.exec("UPDATE page_hash SET hashes = CAST(zeroblob(16) || substr(hashes, 17) AS BLOB)"
                    " WHERE block = 0");
        }
        std::string text;
        CHECK(kind_of([&] { state.hashes(1, 2); }, &text) == ErrorKind::data);
        CHECK(text.find(dir.path()) != std::string::npos);
        CHECK(kind_of([&] { capture(state); }) == ErrorKind::data);
        CHECK(files(dir.path()).size() == 1);
    }

    TEST_CASE("adopting a head: acknowledged, then the position that the hashes are of") {
        TempDir dir;
        ShipState state(dir.path());
        state.begin_rehash();
        state.put_hashes(1, {11, 12});
        QueuedSegment head;
        head.sequence = 57;
        head.id = sha256(as_bytes("57"));
        head.generation = "g";
        state.adopt(head);
        CHECK_FALSE(state.position());
        ShipPosition p;
        p.sequence = 57;
        p.id = head.id;
        p.page_count = 2;
        state.set_position(p);
        CHECK(state.acknowledged().sequence == 57);
        CHECK(state.position()->page_count == 2);
        CHECK(state.hashes(1, 2) == std::vector<std::uint64_t>{11, 12});
        capture(state);
        CHECK(state.oldest()->sequence == 58);
        state.drop_queue();
        CHECK(files(dir.path()).empty());
        CHECK_FALSE(state.position());
        CHECK(state.hashed_pages() == 0);
        CHECK(state.acknowledged().sequence == 57);
        CHECK(state.queue_size().segments == 0);
        CHECK(state.queue_size().bytes == 0);
    }

    TEST_CASE("catalogue and uploads") {
        TempDir dir;
        ShipState state(dir.path());
        using Kind = CatalogueEntry::Kind;
        state.add_entry({Kind::merged, "m/b", "g", {5, 9}, TimePoint(Millis(9)), 90, 1});
        state.add_entry({Kind::merged, "m/a", "g", {1, 4}, TimePoint(Millis(4)), 40, 2});
        state.add_entry({Kind::snapshot, "s/1", "g", {4, 4}, TimePoint(Millis(4)), 400, 0});
        auto merged = state.entries(Kind::merged);
        REQUIRE(merged.size() == 2);
        CHECK(merged[0].key == "m/a");
        CHECK(merged[0].level == 2);
        CHECK(merged[1].range == SequenceRange{5, 9});
        state.remove_entry("m/a");
        CHECK(state.entries(Kind::merged).size() == 1);
        CHECK(state.entries(Kind::snapshot)[0].size == 400);
        std::vector<std::string> seen;
        state.visit_entries(Kind::merged, [&](const CatalogueEntry& e) {
            seen.push_back(e.key + " " + e.generation + " " + std::to_string(e.size));
        });
        CHECK(seen == std::vector<std::string>{"m/b g 90"});
        state.begin_upload("k", "u1");
        state.begin_upload("k", "u2");
        state.end_upload("u1");
        REQUIRE(state.open_uploads().size() == 1);
        CHECK(state.open_uploads()[0] == std::pair<std::string, std::string>("k", "u2"));
    }

    TEST_CASE("many entries of the catalogue come and go together, or not at all") {
        TempDir dir;
        ShipState state(dir.path());
        using Kind = CatalogueEntry::Kind;
        std::vector<CatalogueEntry> many;
        std::vector<std::string> keys;
        for (std::uint64_t n = 1; n <= 1000; ++n) {
            keys.push_back("w/" + std::to_string(n));
            many.push_back({Kind::segment, keys.back(), "g", {n, n}, TimePoint(Millis(n)), n, 0});
        }
        auto count = [&] { return state.entries(Kind::segment).size(); };
        Db other(dir / "state.db");
        other.exec("CREATE TRIGGER no_entry BEFORE INSERT ON catalogue WHEN NEW.first = 900 BEGIN"
                   " SELECT RAISE(FAIL, 'refused'); END");
        CHECK_THROWS_AS(state.add_entries(many), Error);
        CHECK(count() == 0);
        other.exec("DROP TRIGGER no_entry");
        state.add_entries(many);
        state.add_entries(many); // known ones are replaced
        CHECK(count() == 1000);
        keys.resize(990);
        other.exec("CREATE TRIGGER no_exit BEFORE DELETE ON catalogue WHEN OLD.first = 900 BEGIN"
                   " SELECT RAISE(FAIL, 'refused'); END");
        CHECK_THROWS_AS(state.remove_entries(keys), Error);
        CHECK(count() == 1000);
        other.exec("DROP TRIGGER no_exit");
        state.remove_entries(keys);
        CHECK(count() == 10);
        state.add_entries({});
        state.remove_entries({});
        CHECK(state.entries(Kind::segment).front().range == SequenceRange{991, 991});
    }

    TEST_CASE("files without a row and temporary ones are removed; others are left alone") {
        TempDir dir;
        { ShipState(dir.path()).set_note("a", "b"); }
        for (const char* name : {"00000000000000000009.wal.zst", "00000000000000000009.wal.zst.tmp",
                                 "new-state.tmp", "new-state.tmp-wal", "lock", "notes.txt"})
            AtomicFile(dir / "" + name).commit();
        {
            ShipState look(dir.path(), ShipState::Access::look);
            CHECK(look.note("a") == "b");
            CHECK(files(dir.path()).size() == 6);
        }
        ShipState state(dir.path());
        CHECK(files(dir.path()) == std::vector<std::string>{"lock", "notes.txt"});
        CHECK(kind_of([&] { ShipState(dir / "no", ShipState::Access::look); }) ==
              ErrorKind::not_found);
        CHECK_FALSE(path_exists(dir / "no"));
    }

    TEST_CASE("a queued file that is gone or cut breaks continuity, not the queue before it") {
        for (bool cut : {false, true}) {
            TempDir dir;
            FaultyStore store(dir / "store");
            std::string cache = dir / "cache";
            {
                ShipState state(cache);
                for (std::uint32_t i = 0; i < 5; ++i)
                    capture(state, i);
                uploader(store, state).send_next(1);
                if (cut)
                    REQUIRE(::truncate(state.queued_path(3).c_str(), 1100) == 0);
                else
                    fs::remove(state.queued_path(3));
            }
            ShipState state(cache);
            CHECK(state.broken());
            check_sound(state);
            CHECK_FALSE(state.position());
            CHECK(state.hashed_pages() == 0);
            CHECK(state.acknowledged().sequence == 1);
            CHECK(state.newest().sequence == 2);
            capture(state, 77); // as a new generation would
            send_all(store, state);
            CHECK(check_chain(store) == 3);
            CHECK_FALSE(ShipState(cache).broken());
        }
    }

    TEST_CASE("killed at each step it goes on without a hole, a lost or a doubled segment") {
        for (const char* name : {"ship.segment-file", "ship.captured", "ship.attempted",
                                 "ship.stored", "ship.acknowledged"})
            for (int nth : {1, 2, 3}) {
                std::string point = std::string(name) + ":" + std::to_string(nth);
                CAPTURE(point);
                TempDir dir;
                std::string cache = dir / "cache";
                FaultyStore store(dir / "store");
                bool killed = killed_at(point, [&] {
                    ShipState state(cache);
                    for (std::uint32_t i = 0; i < 4; ++i) {
                        capture(state, i);
                        capture(state, 100 + i);
                        uploader(store, state).send_next(UINT64_MAX);
                    }
                });
                CHECK(killed);
                ShipState state(cache);
                CHECK_FALSE(state.broken());
                check_sound(state);
                std::uint64_t captured = state.newest().sequence;
                store.calls.clear();
                capture(state);
                send_all(store, state);
                CHECK(check_chain(store) == captured + 1);
                CHECK(state.entries(CatalogueEntry::Kind::segment).size() == captured + 1);
                CHECK(files(cache).empty());
            }
    }

    TEST_CASE("each file of the state, cut at any length: a clear error or a sound state") {
        TempDir dir;
        FaultyStore store(dir / "store");
        std::string cache = dir / "cache", copy = dir / "copy", writer;
        // Killed, so that there is a state.db-wal with much in it.
        killed_at("ship.captured:9", [&] {
            ShipState state(cache);
            for (std::uint32_t i = 0; i < 12; ++i) {
                capture(state, i);
                if (i < 4)
                    uploader(store, state).send_next(UINT64_MAX);
            }
        });
        bool ended_in_order = false;
        SUBCASE("killed") {}
        SUBCASE("ended in order") {
            ended_in_order = true;
            ShipState state(cache);
        }
        writer = get_segment_header(store, kKeys.segment(1))->writer;
        int errors = 0, opened = 0;
        for (const char* file : {"state.db", "state.db-wal", "state.db-shm"}) {
            if (!path_exists(cache + "/" + file))
                continue;
            auto size = static_cast<long>(fs::file_size(cache + "/" + file));
            for (long length = -1; length < size; length += std::max(1L, size / 61)) {
                fs::remove_all(copy);
                fs::copy(cache, copy);
                if (length < 0)
                    fs::remove(copy + "/" + file);
                else
                    REQUIRE(::truncate((copy + "/" + file).c_str(), length) == 0);
                CAPTURE(file);
                CAPTURE(length);
                try {
                    ShipState state(copy);
                    ++opened;
                    check_sound(state);
                    CHECK(state.writer() == writer); // never mistaken for a new directory
                    CHECK((!ended_in_order || std::string(file) != "state.db"));
                } catch (const Error& e) {
                    ++errors;
                    CHECK(e.kind() == ErrorKind::data);
                    CHECK(e.message().find(copy) != std::string::npos);
                    CHECK(e.hint().find("database and its replica are not affected") !=
                          std::string::npos);
                    CHECK(files(copy) == files(cache)); // what is queued was not touched
                }
            }
        }
        CHECK(errors > 0);
        CHECK((ended_in_order ? errors : opened) > 60); // state.db; the other two
    }

    TEST_CASE("a state of a newer zl, or of something else, is refused") {
        TempDir dir;
        { ShipState state(dir.path()); }
        Db(dir / "state.db").exec("PRAGMA user_version = 99");
        std::string text;
        CHECK(kind_of([&] { ShipState state(dir.path()); }, &text) == ErrorKind::data);
        CHECK(text.find("newer zl") != std::string::npos);
        Db(dir / "state.db").exec("PRAGMA user_version = 0");
        CHECK(kind_of([&] { ShipState state(dir.path()); }) == ErrorKind::data);
    }

    TEST_CASE("a full disk leaves position, queue and files as they were") {
        TempDir dir;
        ShipState state(dir.path());
        capture(state);
        auto before = state.position();
        auto limit_files = [](rlim_t bytes) {
            rlimit limit{};
            ::getrlimit(RLIMIT_FSIZE, &limit);
            limit.rlim_cur = bytes == 0 ? limit.rlim_max : bytes;
            ::setrlimit(RLIMIT_FSIZE, &limit);
        };
        auto old = std::signal(SIGXFSZ, SIG_IGN);
        // The segment's file fits, the transaction does not.
        limit_files(fs::file_size(dir / "state.db-wal") + 1000);
        ErrorKind kind = kind_of([&] { capture(state, 2); });
        limit_files(0);
        CHECK(kind == ErrorKind::io);
        CHECK(state.position()->sequence == 1);
        CHECK(state.position()->wal == before->wal);
        check_sound(state);
        std::signal(SIGXFSZ, old);
        capture(state, 3);
        CHECK(state.newest().sequence == 2);
        check_sound(state);
    }
}

TEST_SUITE("wal/segment uploader") {
    TEST_CASE("sends in order, up to where it may, exactly the bytes of the file") {
        for (bool conditional : {true, false}) {
            TempDir dir;
            FaultyStore store(dir / "store");
            ShipState state(dir / "cache");
            std::vector<std::string> bytes;
            for (std::uint32_t i = 0; i < 3; ++i) {
                capture(state, i);
                bytes.push_back(read_file(state.queued_path(i + 1)).value());
            }
            SegmentUploader up = uploader(store, state, conditional);
            CHECK_FALSE(up.send_next(0));
            CHECK(up.send_next(2));
            CHECK(up.send_next(2));
            CHECK_FALSE(up.send_next(2));
            CHECK(up.send_next(3));
            CHECK_FALSE(up.send_next(3));
            for (std::uint64_t n = 1; n <= 3; ++n)
                CHECK(get_text(store, kKeys.segment(n)) == bytes[n - 1]);
            CHECK(store.calls["put zst"] == 3);
            CHECK(state.acknowledged().sequence == 3);
            CHECK(files(state.directory()).empty());
        }
    }

    TEST_CASE("a lost reply: its own object is recognised and not sent again") {
        for (bool conditional : {true, false}) {
            TempDir dir;
            FaultyStore store(dir / "store");
            ShipState state(dir / "cache");
            capture(state);
            capture(state, 2);
            SegmentUploader up = uploader(store, state, conditional);
            store.fault = [&](const std::string& call, bool after) {
                if (call == "put zst" && after)
                    throw Error(ErrorKind::transient, "connection reset");
            };
            CHECK(kind_of([&] { up.send_next(9); }) == ErrorKind::transient);
            CHECK(state.oldest()->attempted);
            CHECK(state.acknowledged().sequence == 0);
            store.fault = [](auto&, bool) {};
            // Also by another process after more than a minute, which looks at the head first.
            SegmentUploader later = uploader(store, state, conditional);
            CHECK(later.send_next(9));
            CHECK(store.calls["put zst"] == 1);
            CHECK(state.acknowledged().sequence == 1);
            CHECK(later.send_next(9));
            CHECK(check_chain(store) == 2);
        }
    }

    TEST_CASE("the store's client repeats a PUT that had worked: 412, and it is ours") {
        TempDir dir;
        FaultyStore store(dir / "store");
        ShipState state(dir / "cache");
        capture(state);
        std::string bytes = read_file(state.queued_path(1)).value();
        store.fault = [&](const std::string& call, bool after) {
            if (call == "put zst" && !after)
                store.inner().put(kKeys.segment(1), MemoryBody(bytes));
        };
        CHECK(uploader(store, state).send_next(1));
        CHECK(state.acknowledged().sequence == 1);
    }

    TEST_CASE("while the store is down everything stays queued") {
        for (bool conditional : {true, false}) {
            TempDir dir;
            FaultyStore store(dir / "store");
            ShipState state(dir / "cache");
            for (std::uint32_t i = 0; i < 3; ++i)
                capture(state, i);
            SegmentUploader up = uploader(store, state, conditional);
            for (const char* down : {"get", "put zst"})
                for (ErrorKind kind : {ErrorKind::transient, ErrorKind::denied}) {
                    store.fault = [&](const std::string& call, bool after) {
                        if (call == down && !after)
                            throw Error(kind, "503");
                    };
                    CHECK(kind_of([&] { up.send_next(9); }) == kind);
                    CHECK(state.queue_size().segments == 3);
                    check_sound(state);
                }
            store.fault = [](auto&, bool) {};
            while (up.send_next(9)) {
            }
            CHECK(check_chain(store) == 3);
        }
    }

    TEST_CASE("of two writers exactly one wins a number, the other is fenced") {
        for (int round = 0; round < 20; ++round) {
            TempDir dir;
            FaultyStore store(dir / "store");
            ShipState a(dir / "a"), b(dir / "b");
            capture(a, 1, "web1");
            send_all(store, a);
            adopt_head(store, b);
            for (std::uint32_t i = 0; i < 5; ++i) {
                capture(a, i, "web1");
                capture(b, 100 + i, "web2");
            }
            auto run = [&](ShipState& state, bool& fenced) {
                return std::thread([&] {
                    try {
                        send_all(store, state);
                    } catch (const Error& e) {
                        fenced = e.kind() == ErrorKind::fenced;
                    }
                });
            };
            bool fenced_a = false, fenced_b = false;
            std::thread one = run(a, fenced_a), two = run(b, fenced_b);
            one.join();
            two.join();
            CHECK(fenced_a != fenced_b);
            ShipState& winner = fenced_a ? b : a;
            ShipState& loser = fenced_a ? a : b;
            CHECK(check_chain(store) == 6);
            CHECK(winner.acknowledged().sequence == 6);
            CHECK(loser.acknowledged().sequence == 1);
            CHECK(loser.queue_size().segments == 5);
            check_sound(loser);
            for (std::uint64_t n = 2; n <= 6; ++n)
                CHECK(get_segment_header(store, kKeys.segment(n))->writer == winner.writer());
        }
    }

    TEST_CASE("the message of a fenced writer says whose it is and what is safe") {
        TempDir dir;
        FaultyStore store(dir / "store");
        ShipState a(dir / "a"), b(dir / "b");
        capture(a, 1, "web1");
        send_all(store, a);
        adopt_head(store, b);
        capture(b, 2, "web2");
        send_all(store, b);
        capture(a, 3, "web1");
        std::string text;
        SegmentUploader up = uploader(store, a);
        up.head_confirmed(); // so that it runs into the 412
        CHECK(kind_of([&] { up.send_next(9); }, &text) == ErrorKind::fenced);
        CHECK(text.starts_with("shop/web1 belongs to web2 since " +
                               format_rfc3339(b.acknowledged().time)));
        CHECK(text.find(b.writer()) != std::string::npos);
        CHECK(text.find("--take-over") != std::string::npos);
        CHECK(text.find(a.directory()) != std::string::npos);
        // Again from the head, in another process.
        std::string again;
        CHECK(kind_of([&] { uploader(store, a).send_next(9); }, &again) == ErrorKind::fenced);
        CHECK(again == text);
        // The same cache directory twice (a cloned volume): it says so.
        fs::remove_all(dir / "c");
        fs::copy(dir / "b", dir / "c");
        ShipState c(dir / "c");
        capture(b, 4, "web2");
        send_all(store, b);
        capture(c, 5, "web3");
        CHECK(kind_of([&] { uploader(store, c).send_next(9); }, &text) == ErrorKind::fenced);
        CHECK(text.find("a copy of this cache directory") != std::string::npos);
    }

    TEST_CASE("without conditional creation a second writer is found out before it goes on") {
        TempDir dir;
        FaultyStore store(dir / "store");
        ShipState a(dir / "a"), b(dir / "b");
        capture(a, 1, "web1");
        send_all(store, a, false);
        adopt_head(store, b);
        for (std::uint32_t i = 0; i < 2; ++i) {
            capture(a, i, "web1");
            capture(b, 100 + i, "web2");
        }
        SegmentUploader up_a = uploader(store, a, false), up_b = uploader(store, b, false);
        bool in_between = false, before_put = false;
        SUBCASE("B comes between A's look and A's PUT") {
            before_put = true;
        }
        SUBCASE("B comes between A's PUT and A's reading back") {
            before_put = false;
        }
        store.fault = [&](const std::string& call, bool after) {
            if (call != "put zst" || after == before_put || in_between)
                return;
            in_between = true;
            std::string key = kKeys.segment(2);
            std::string mine = read_file(b.queued_path(2)).value();
            if (before_put) { // what B's whole send_next() does here
                store.inner().put(key, MemoryBody(mine));
                b.mark_attempted(2);
                b.acknowledge(2, key);
            }
        };
        CHECK(up_a.send_next(9));
        CHECK(in_between);
        store.fault = [](auto&, bool) {};
        int puts = store.calls["put zst"];
        up_b.head_confirmed(); // not the look at the head is to find it
        CHECK(kind_of([&] { up_b.send_next(9); }) == ErrorKind::fenced);
        CHECK(store.calls["put zst"] == puts);
        CHECK(up_a.send_next(9));
        CHECK(check_chain(store) == 3);
        for (std::uint64_t n = 1; n <= 3; ++n)
            CHECK(get_segment_header(store, kKeys.segment(n))->writer == a.writer());
    }

    TEST_CASE("without conditional creation an object that was overwritten at once is noticed") {
        TempDir dir;
        FaultyStore store(dir / "store");
        ShipState a(dir / "a"), b(dir / "b");
        capture(a, 1, "web1");
        send_all(store, a, false);
        adopt_head(store, b);
        capture(a, 2, "web1");
        capture(b, 3, "web2");
        store.fault = [&](const std::string& call, bool after) {
            if (call == "put zst" && after)
                store.inner().put(kKeys.segment(2), MemoryBody(*read_file(b.queued_path(2))));
        };
        CHECK(kind_of([&] { uploader(store, a, false).send_next(9); }) == ErrorKind::fenced);
        CHECK(a.acknowledged().sequence == 1);
        // And the one before it, while this one was written.
        store.fault = [](auto&, bool) {};
        send_all(store, b, false);
        capture(b, 4, "web2");
        store.fault = [&](const std::string& call, bool after) {
            if (call == "put zst" && after)
                store.inner().put(kKeys.segment(2), MemoryBody(*read_file(a.queued_path(2))));
        };
        CHECK(kind_of([&] { uploader(store, b, false).send_next(9); }) == ErrorKind::fenced);
        CHECK(b.acknowledged().sequence == 2);
    }

    TEST_CASE("stopped for more than a minute while another took over: fenced before any PUT") {
        for (int round = 0; round < 4; ++round) {
            bool conditional = round % 2 == 0, two = round < 2;
            TempDir dir;
            FaultyStore store(dir / "store");
            ShipState a(dir / "a"), b(dir / "b");
            milliseconds clock{1000};
            NullLog log;
            SegmentUploader::Options o;
            o.conditional = conditional;
            o.boot_clock = [&] { return clock; };
            SegmentUploader up(store, kKeys, a, o, log);
            capture(a, 1, "web1");
            CHECK(up.send_next(9));
            int gets = store.calls["get"];
            clock += milliseconds(60000);
            capture(a, 2, "web1");
            CHECK(up.send_next(9));
            if (conditional)
                CHECK(store.calls["get"] == gets); // not looked at within the minute
            adopt_head(store, b);
            capture(b, 3, "web2");
            if (two)
                capture(b, 4, "web2");
            send_all(store, b);
            clock += milliseconds(60001);
            capture(a, 5, "web1");
            int puts = store.calls["put zst"];
            CHECK(kind_of([&] { up.send_next(9); }) == ErrorKind::fenced);
            CHECK(store.calls["put zst"] == puts);
            CHECK_FALSE(a.oldest()->attempted);
            // It stays so, however often it is tried.
            CHECK(kind_of([&] { up.send_next(9); }) == ErrorKind::fenced);
            CHECK(check_chain(store) == (two ? 4u : 3u));
        }
    }

    TEST_CASE("a replica that has less than it confirmed is not written on") {
        TempDir dir;
        FaultyStore store(dir / "store");
        ShipState state(dir / "cache");
        for (std::uint32_t i = 0; i < 3; ++i)
            capture(state, i);
        send_all(store, state);
        capture(state, 9);
        for (std::uint64_t n : {3u, 2u, 1u}) {
            store.remove(kKeys.segment(n));
            std::string text;
            CHECK(kind_of([&] { uploader(store, state).send_next(9); }, &text) == ErrorKind::data);
            CHECK(text.starts_with("replica lost segments: "));
            CHECK(state.queue_size().segments == 1);
        }
        CHECK(check_chain(store) == 0);
    }

    TEST_CASE("a listing that lags behind what was confirmed is not taken for a loss") {
        class Lagging final : public ForwardingStore {
        public:
            using ForwardingStore::ForwardingStore;
            void list(const std::string& prefix, const ListOptions& options,
                      const std::function<bool(const ObjectInfo&)>& visit) override {
                inner_.list(prefix, options,
                            [&](const ObjectInfo& o) { return o.key >= hidden_from || visit(o); });
            }
            std::string hidden_from = "~";
        };
        TempDir dir;
        FaultyStore files(dir / "store");
        Lagging store(files);
        ShipState state(dir / "cache");
        for (std::uint32_t i = 0; i < 3; ++i)
            capture(state, i);
        send_all(store, state);
        store.hidden_from = kKeys.segment(3);
        capture(state, 9);
        send_all(store, state);
        CHECK(check_chain(files) == 4);
        CHECK(read_replica_head(store, kKeys).sequence() == 2);
        CHECK(read_replica_head(store, kKeys, 4).sequence() == 4);
    }

    TEST_CASE("a replica that vanished is begun anew where its numbers ended") {
        for (bool conditional : {true, false}) {
            TempDir dir;
            FaultyStore store(dir / "store");
            ShipState state(dir / "cache");
            QueuedSegment used_up;
            used_up.sequence = 57;
            state.adopt(used_up);
            capture(state);
            capture(state, 2);
            send_all(store, state, conditional);
            CHECK(state.acknowledged().sequence == 59);
            CHECK(read_replica_head(store, kKeys).sequence() == 59);
            // But not over somebody else's.
            ShipState other(dir / "other");
            other.adopt(used_up);
            capture(other);
            CHECK(kind_of([&] { send_all(store, other, conditional); }) == ErrorKind::fenced);
        }
    }

    TEST_CASE("a number of ours that is another's in the store: fenced, also at the head") {
        TempDir dir;
        FaultyStore store(dir / "store");
        ShipState a(dir / "a"), b(dir / "b");
        capture(a, 1, "web1");
        send_all(store, a);
        capture(b, 2, "web2");
        store.inner().put(kKeys.segment(1), MemoryBody(*read_file(b.queued_path(1))));
        capture(a, 3, "web1");
        CHECK(kind_of([&] { uploader(store, a).send_next(9); }) == ErrorKind::fenced);
        // A new cache directory in front of a replica that has only its metadata left.
        store.remove(kKeys.segment(1));
        ReplicaMetadata m;
        m.format = kReplicaFormat;
        m.writer = "0123456789abcdef";
        m.host = "web9";
        m.db_identifier = "00000000000000db";
        m.generation = "000000000000000a";
        put_replica_metadata(store, kKeys, m);
        CHECK(kind_of([&] { uploader(store, b).send_next(9); }) == ErrorKind::fenced);
        CHECK(check_chain(store) == 0);
    }

    TEST_CASE("a queued file that rotted is not sent") {
        TempDir dir;
        FaultyStore store(dir / "store");
        ShipState state(dir / "cache");
        capture(state);
        capture(state, 2);
        CHECK(uploader(store, state).send_next(1));
        {
            UniqueFd fd = open_file(state.queued_path(2), O_RDWR);
            pwrite_full(fd.get(), as_bytes("X"), kSegmentHeaderSize + 100, "segment");
        }
        std::string text;
        CHECK(kind_of([&] { uploader(store, state).send_next(9); }, &text) == ErrorKind::data);
        CHECK(text.find(state.queued_path(2)) != std::string::npos);
        CHECK(text.find("remove that file") != std::string::npos);
        CHECK_FALSE(state.oldest()->attempted);
        // Whole, but another segment under its name.
        ShipState other(dir / "other");
        capture(other);
        capture(other, 3);
        fs::copy(other.queued_path(2), state.queued_path(2), fs::copy_options::overwrite_existing);
        CHECK(kind_of([&] { uploader(store, state).send_next(9); }) == ErrorKind::data);
        CHECK(check_chain(store) == 1);
    }
}
