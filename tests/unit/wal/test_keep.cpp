#include "../temp_dir.hpp"
#include "store/forwarding_store.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "store/open_store.hpp"
#include "stream/zstd_stream.hpp"
#include "wal/keeper.hpp"
#include "wal/merge_plan.hpp"
#include "wal/merger.hpp"
#include "wal/page_hash.hpp"
#include "wal/replica_head.hpp"
#include "wal/replica_scan.hpp"
#include "wal/retention.hpp"
#include "wal/snapshot.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>

using namespace zl;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr std::uint32_t kPage = 512;
constexpr Millis kDay = hours(24);

using test::TempDir;

class Warnings final : public Log {
public:
    void write(LogLevel level, std::string_view message) override {
        if (level <= LogLevel::warning)
            all.emplace_back(message);
    }
    std::vector<std::string> all;
};

/// A store that counts, watches and fails on command.
class Watched final : public ForwardingStore {
public:
    using ForwardingStore::ForwardingStore;
    std::function<void(const std::string& what, const std::string& key)> before;
    std::uint64_t requests = 0;
    bool conditional = true, unsupported = false;

    std::optional<ObjectInfo> head(const std::string& key) override {
        note("head", key);
        return inner_.head(key);
    }
    std::optional<ObjectInfo> get(const std::string& key, Sink& sink,
                                  const GetOptions& options) override {
        note("get", key);
        return inner_.get(key, sink, options);
    }
    std::string put(const std::string& key, const Body& body, const PutOptions& options) override {
        note("put", key);
        CHECK_FALSE((options.if_none_match && !conditional));
        if (options.if_none_match && unsupported)
            throw Error(ErrorKind::unsupported, "501 Not Implemented");
        return inner_.put(key, body, options);
    }
    void remove(const std::string& key) override {
        note("remove", key);
        inner_.remove(key);
    }
    void list(const std::string& prefix, const ListOptions& options,
              const std::function<bool(const ObjectInfo&)>& visit) override {
        note("list", prefix);
        inner_.list(prefix, options, visit);
    }
    bool conditional_allowed() const override { return conditional; }

private:
    void note(const std::string& what, const std::string& key) {
        ++requests;
        if (before)
            before(what, key);
    }
};

using Pages = std::map<std::uint32_t, std::vector<std::byte>>;

DbChecksum checksum_of(const Pages& pages) {
    DbChecksum sum = 0;
    for (const auto& [page, data] : pages)
        sum += page_hash(page, data);
    return sum;
}

class PagesOf final : public PageSource {
public:
    explicit PagesOf(const Pages& pages) : pages_(pages) {}
    std::uint32_t page_size() const override { return kPage; }
    std::uint32_t page_count() const override { return pages_.rbegin()->first; }
    void read(std::uint32_t first, std::span<std::byte> out) override {
        for (std::size_t i = 0; i < out.size() / kPage; ++i) {
            const auto& data = pages_.at(static_cast<std::uint32_t>(first + i));
            std::copy(data.begin(), data.end(),
                      out.begin() + static_cast<std::ptrdiff_t>(i * kPage));
        }
    }

private:
    const Pages& pages_;
};

/// A database with a history, shipped into a directory store as a shipper would.
struct Replica {
    Replica()
        : inner(open_local_store(StoreUrl::parse(dir / "store"), {}, log)), store(*inner),
          keys("db/app/"), state(std::make_unique<ShipState>(dir / "cache")) {
        for (std::uint32_t page = 1; page <= 12; ++page)
            change(page);
    }

    void change(std::uint32_t page) {
        auto& data = pages[page];
        data.assign(kPage, std::byte{0});
        for (std::size_t i = 0; i < 32; ++i)
            data[i] = static_cast<std::byte>(random());
        changed[page] = data;
    }

    struct Moment {
        TimePoint time;
        std::string generation;
        DbChecksum checksum = 0;
        bool alone = false;
    };

    void ship(SegmentHeader h) {
        h.db_id = "00000000000000db";
        h.generation = generation;
        h.writer = state->writer();
        h.host = "host";
        h.sequence = h.first_sequence = ++sequence;
        h.time = h.first_time = now;
        h.prev = last_id;
        h.checksum_before = moments.empty() ? 0 : moments.rbegin()->second.checksum;
        h.checksum_after = checksum_of(pages);
        h.page_count = pages.rbegin()->first;
        std::string path = dir / "made";
        UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
        SegmentWriter writer(fd.get(), path, kPage, sequence);
        if (h.kind != SegmentKind::claim)
            for (const auto& [page, data] : changed)
                if (page <= h.page_count)
                    writer.page(page, data);
        std::uint64_t size = writer.finish(h);
        changed.clear();
        inner->put(keys.segment(sequence), FileBody(fd.get(), 0, size, path));
        last_id = h.id();
        state->add_entry({CatalogueEntry::Kind::segment,
                          keys.segment(sequence),
                          generation,
                          {sequence, sequence},
                          now,
                          size,
                          0});
        QueuedSegment head;
        head.sequence = sequence;
        head.id = last_id;
        head.generation = generation;
        head.time = now;
        state->adopt(head);
        moments[sequence] = {now, generation, h.checksum_after,
                             h.kind == SegmentKind::claim || !h.resync.empty() || h.gap_from};
    }

    void commit(Millis pause, SegmentHeader mark = {}) {
        now += pause;
        std::uint32_t count = pages.rbegin()->first;
        change(1);
        change(1 + static_cast<std::uint32_t>(random() % count));
        if (random() % 11 == 0 && count > 6) {
            pages.erase(count);
            changed.erase(count);
        } else if (random() % 9 == 0) {
            change(count + 1);
        }
        ship(mark);
    }

    void snapshot() {
        SnapshotHeader h;
        h.db_id = "00000000000000db";
        h.generation = generation;
        h.writer = state->writer();
        h.sequence = sequence;
        h.chain = last_id;
        h.time = moments.at(sequence).time;
        h.created_at = now;
        MemorySink out;
        PagesOf source(pages);
        write_snapshot(source, h, out, 1, 1);
        std::string key = keys.snapshot(now);
        put_text(*inner, key, out.text);
        state->add_entry({CatalogueEntry::Kind::snapshot,
                          key,
                          generation,
                          {sequence, sequence},
                          h.time,
                          out.text.size(),
                          0});
    }

    /// A new generation, which begins with another state of the database.
    void fork(const std::string& id) {
        SegmentHeader claim;
        claim.kind = SegmentKind::claim;
        claim.parent = generation;
        claim.fork_sequence = sequence > 3 ? sequence - 2 : 0;
        if (generation.empty())
            claim.fork_sequence = 0;
        generation = id;
        now += Millis(1);
        change(2);
        ship(claim);
        snapshot();
    }

    ReplicaKeeper keeper(std::optional<Millis> retain = hours(24 * 7)) {
        ReplicaKeeper::Options options;
        options.retain = retain;
        options.clock = [this] { return now + wrong; };
        if (!state->note("clock")) // this host has run before
            state->set_note("clock", format_rfc3339(now));
        options.boot = [this] { return Millis(now.time_since_epoch().count()); };
        return {store, keys, *state, options, log};
    }

    TempDir dir;
    Warnings log;
    std::unique_ptr<ObjectStore> inner;
    Watched store;
    ReplicaKeys keys;
    std::unique_ptr<ShipState> state;
    std::mt19937_64 random{42};
    TimePoint now = parse_time("2026-01-01T00:30:00Z");
    Millis wrong{0}; ///< how far the wall clock is ahead of it
    Pages pages, changed;
    std::string generation;
    std::uint64_t sequence = 0;
    Digest last_id;
    std::map<std::uint64_t, Moment> moments;
};

void run_all(ReplicaKeeper& keeper) {
    for (int n = 0; keeper.step({}); ++n)
        REQUIRE(n < 10000);
}

/// What the store really holds.
struct Stored {
    struct Object {
        SequenceRange range;
        std::string key;
    };
    std::vector<Object> objects; ///< by first, then last
    std::map<std::uint64_t, std::string> snapshots;
    std::size_t singles = 0, merged = 0;
};

Stored look_at(Replica& r) {
    Stored s;
    r.inner->list(r.keys.prefix(), {}, [&](const ObjectInfo& o) {
        if (auto n = r.keys.parse_segment(o.key)) {
            s.objects.push_back({{*n, *n}, o.key});
            ++s.singles;
        } else if (auto range = r.keys.parse_merged(o.key)) {
            s.objects.push_back({*range, o.key});
            ++s.merged;
        } else if (r.keys.parse_snapshot(o.key)) {
            s.snapshots[get_snapshot_index(*r.inner, o.key)->header.sequence] = o.key;
        }
        return true;
    });
    std::sort(s.objects.begin(), s.objects.end(), [](const auto& a, const auto& b) {
        return std::pair(a.range.first, a.range.last) < std::pair(b.range.first, b.range.last);
    });
    return s;
}

/// Sequences that can be restored: within a generation, from a snapshot, each object where the one
/// before it ends.
std::set<std::uint64_t> reachable(Replica& r, const Stored& s) {
    std::set<std::uint64_t> out;
    for (const auto& [n, key] : s.snapshots)
        out.insert(n);
    for (const auto& o : s.objects)
        if (out.contains(o.range.first - 1) &&
            r.moments.at(o.range.first - 1).generation == r.moments.at(o.range.last).generation)
            out.insert(o.range.last);
    return out;
}

Pages snapshot_pages(Replica& r, const std::string& key) {
    MemorySink packed;
    r.inner->get(key, packed);
    SnapshotIndex index = *get_snapshot_index(*r.inner, key);
    Pages pages;
    std::vector<std::byte> data;
    std::size_t at = 0;
    std::uint32_t page = 0;
    for (const SeekEntry& f : index.frames) {
        FrameDecompressor().decompress(as_bytes(packed.text).subspan(at, f.compressed_size),
                                       f.content_size, data);
        for (std::size_t i = 0; i < data.size(); i += kPage)
            pages[++page].assign(data.begin() + static_cast<std::ptrdiff_t>(i),
                                 data.begin() + static_cast<std::ptrdiff_t>(i + kPage));
        at += f.compressed_size;
    }
    return pages;
}

SegmentHeader apply(Replica& r, const std::string& key, Pages& pages) {
    std::string path = r.dir / "apply";
    UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
    FdSink sink(fd.get(), path);
    REQUIRE(r.inner->get(key, sink));
    SegmentHeader h = verify_segment_file(fd.get(), key);
    std::string bytes = *read_file(path);
    MemorySource body(as_bytes(bytes).subspan(kSegmentHeaderSize));
    read_segment(h, body, key, [&](std::uint32_t page, Bytes data) {
        pages[page].assign(data.begin(), data.end());
    });
    pages.erase(pages.upper_bound(h.page_count), pages.end());
    return h;
}

/// Restores every state that can be, along all objects, and compares it with what it was.
void check_content(Replica& r) {
    Stored s = look_at(r);
    std::map<std::uint64_t, Pages> states;
    for (const auto& [n, key] : s.snapshots) {
        states[n] = snapshot_pages(r, key);
        CHECK(checksum_of(states[n]) == r.moments.at(n).checksum);
    }
    for (const auto& o : s.objects) {
        auto from = states.find(o.range.first - 1);
        if (from == states.end() ||
            r.moments.at(o.range.first - 1).generation != r.moments.at(o.range.last).generation)
            continue;
        Pages pages = from->second;
        SegmentHeader h = apply(r, o.key, pages);
        CAPTURE(o.key);
        CHECK(h.checksum_before == r.moments.at(o.range.first - 1).checksum);
        CHECK(h.checksum_after == r.moments.at(o.range.last).checksum);
        CHECK(h.generation == r.moments.at(o.range.last).generation);
        CHECK(h.time == r.moments.at(o.range.last).time);
        CHECK(checksum_of(pages) == r.moments.at(o.range.last).checksum);
        if (h.kind == SegmentKind::merged)
            for (std::uint64_t n = o.range.first; n <= o.range.last; ++n)
                CHECK_FALSE(r.moments.at(n).alone);
        states.emplace(o.range.last, std::move(pages));
    }
}

/// What is promised, found without the code that keeps it.
void check_promises(Replica& r, Millis retain) {
    Stored s = look_at(r);
    std::set<std::uint64_t> good = reachable(r, s);
    // Each generation's first snapshot comes with its claim, so everything could be restored once.
    std::map<std::string, std::uint64_t> newest_snapshot, tip;
    for (const auto& [n, key] : s.snapshots)
        newest_snapshot[r.moments.at(n).generation] = n;
    for (const auto& [n, m] : r.moments)
        tip[m.generation] = n;
    std::string missing;
    auto need = [&](std::uint64_t n, const char* why) {
        if (!good.contains(n))
            missing += std::to_string(n) + " (" + why + ") ";
    };
    for (const auto& [generation, n] : tip) {
        need(n, "tip");
        for (std::uint64_t after = newest_snapshot.at(generation); after <= n; ++after)
            need(after, "after the latest snapshot");
    }
    for (auto m = r.moments.begin(); std::next(m) != r.moments.end(); ++m) {
        Millis age = r.now - std::next(m)->second.time; // it was the newest until then
        Millis lasted = std::next(m)->second.time - m->second.time;
        if (std::next(m)->second.generation != m->second.generation || age > retain)
            continue;
        if (age < kDay)
            need(m->first, "younger than 24 h");
        else if (lasted >= minutes(5) && age < 3 * kDay)
            need(m->first, "lasted 5 minutes");
        else if (lasted >= hours(1) && age < 30 * kDay)
            need(m->first, "lasted an hour");
        else if (lasted >= kDay)
            need(m->first, "lasted a day");
    }
    CHECK(missing == "");
}

std::size_t temp_files(Replica& r) {
    std::size_t n = 0;
    for (const auto& e : std::filesystem::directory_iterator(r.dir / "cache"))
        n += !e.path().filename().string().starts_with("state.db");
    return n;
}

} // namespace

TEST_SUITE("wal/keep") {

    TEST_CASE(
        "weeks of history: what is promised restores after each step, and counts stay bounded") {
        Replica r;
        const Millis retain = hours(24 * 7);
        std::map<std::string, TimePoint> times;
        r.store.before = [&](const std::string& what, const std::string& key) {
            if (what != "remove")
                return;
            // Nothing younger than 24 h, by what it holds.
            std::uint64_t n = 0;
            if (auto single = r.keys.parse_segment(key))
                n = *single;
            else if (auto range = r.keys.parse_merged(key))
                n = range->last;
            else
                n = get_snapshot_index(*r.inner, key)->header.sequence;
            CHECK(r.now - r.moments.at(n).time >= kDay);
            CHECK_MESSAGE(key != r.keys.segment(r.sequence), "the head was deleted");
        };
        auto keeper = r.keeper(retain);
        r.fork("00000000000000a1");
        const TimePoint start = std::chrono::floor<std::chrono::days>(r.now);
        std::uint64_t commits = 0, steps = 0;
        std::size_t most_singles = 0;
        for (int day = 0; day < 24; ++day) {
            if (day == 9)
                r.fork("00000000000000a2");
            if (day == 16)
                r.fork("00000000000000a3");
            TimePoint midnight = start + kDay * day;
            for (int burst = 0; burst < 6; ++burst) {
                r.now = std::max(r.now, midnight + hours(4 * burst));
                auto n = 1 + r.random() % 30;
                Millis pace(200 + r.random() % 60000);
                for (std::uint64_t i = 0; i < n; ++i, ++commits) {
                    SegmentHeader mark;
                    if (r.random() % 50 == 0)
                        mark.resync = "test";
                    if (r.random() % 50 == 0)
                        mark.gap_from = r.now;
                    r.commit(pace, mark);
                }
                if (r.random() % 3 != 0)
                    r.snapshot();
                r.now += minutes(11);
                while (keeper.step({})) {
                    ++steps;
                    if (steps % 7 == 0)
                        check_promises(r, retain);
                }
                check_promises(r, retain);
            }
            most_singles = std::max(most_singles, look_at(r).singles);
            if (day % 6 == 5)
                check_content(r);
        }
        check_content(r);
        Stored s = look_at(r);
        CAPTURE(commits);
        CAPTURE(steps);
        CHECK(steps > 100);
        CHECK(commits > 1500);
        // A day of singles, those that stand alone, and what follows a generation's latest
        // snapshot.
        CHECK(most_singles < 250);
        CHECK(s.merged < 150);
        CHECK(s.snapshots.size() < 40);
        CHECK(r.log.all.empty());
        CHECK(temp_files(r) == 0);
        // The catalogue says what is there.
        std::set<std::string> known, there;
        for (auto kind : {CatalogueEntry::Kind::segment, CatalogueEntry::Kind::merged,
                          CatalogueEntry::Kind::snapshot})
            for (const auto& e : r.state->entries(kind))
                known.insert(e.key);
        r.inner->list(r.keys.prefix(), {}, [&](const ObjectInfo& o) {
            there.insert(o.key);
            return true;
        });
        CHECK(known == there);
        // Abandoned generations can be restored to their tips.
        std::set<std::uint64_t> good = reachable(r, s);
        for (const char* id : {"00000000000000a1", "00000000000000a2", "00000000000000a3"}) {
            std::uint64_t tip = 0;
            for (const auto& [n, m] : r.moments)
                if (m.generation == id)
                    tip = n;
            CHECK(good.contains(tip));
        }
    }

    TEST_CASE("an idle database causes no request") {
        Replica r;
        auto keeper = r.keeper();
        r.fork("00000000000000a1");
        for (int i = 0; i < 200; ++i)
            r.commit(seconds(2));
        r.snapshot();
        r.now += minutes(2);
        run_all(keeper);
        r.store.requests = 0;
        for (int i = 0; i < 600; ++i) {
            r.now += minutes(2);
            CHECK_FALSE(keeper.step({}));
        }
        CHECK(r.store.requests == 0);
        // 20 h are over: after 4 more, what is covered goes.
        r.now += hours(5);
        run_all(keeper);
        CHECK(r.store.requests > 100);
        r.store.requests = 0;
        r.now += hours(24 * 30);
        run_all(keeper);
        std::uint64_t last = r.store.requests;
        r.now += hours(24 * 300);
        run_all(keeper);
        CHECK(r.store.requests == last);
        Stored s = look_at(r);
        CHECK(s.snapshots.size() == 1);
        CHECK(s.singles == 1);
        CHECK(s.objects.back().range == SequenceRange{r.sequence, r.sequence});
        CHECK(reachable(r, s).contains(r.sequence));
    }

    TEST_CASE("a clock that goes wrong deletes nothing; one that stays so is believed") {
        Replica r;
        r.fork("00000000000000a1");
        for (int i = 0; i < 100; ++i)
            r.commit(seconds(2));
        r.snapshot();
        const auto deletes_in = [&](Millis time, std::optional<ReplicaKeeper> keeper) {
            std::uint64_t deletes = 0;
            r.store.before = [&](const std::string& what, const std::string&) {
                deletes += what == "remove";
            };
            for (const TimePoint end = r.now + time; r.now < end; r.now += minutes(11)) {
                r.commit(seconds(1));
                run_all(*keeper);
            }
            r.store.before = {};
            return deletes;
        };
        CHECK(deletes_in(minutes(30), r.keeper(hours(24))) == 0);
        r.wrong = hours(24 * 10);
        CHECK(deletes_in(minutes(30), r.keeper(hours(24))) == 0); // since the last run
        r.wrong = Millis(0);
        CHECK(r.log.all.size() == 1);
        std::optional<ReplicaKeeper> on(r.keeper(hours(24)));
        run_all(*on);
        r.wrong = hours(24 * 10); // under it
        CHECK(deletes_in(minutes(50), std::move(on)) == 0);
        CHECK(r.log.all.size() == 2);
        check_content(r);
        CHECK(deletes_in(hours(2), r.keeper(hours(24))) > 50);
        r.wrong = Millis(0);
        check_content(r);
    }

    TEST_CASE("a cache directory that is new knows the time from the replica") {
        Replica r;
        r.fork("00000000000000a1");
        for (int i = 0; i < 100; ++i)
            r.commit(seconds(2));
        r.snapshot();
        AgeClock clock(*r.state, r.log, [&] { return r.now + r.wrong; }, [] { return Millis(0); });
        r.wrong = hours(24 * 10);
        CHECK_FALSE(clock.now(r.now));
        r.wrong = minutes(59);
        CHECK(clock.now(r.now) == r.now + minutes(59));
        CHECK(AgeClock(*r.state, r.log, [&] { return r.now; }, [] { return Millis(0); }).now({}) == r.now);
    }

    TEST_CASE("with retention off nothing is deleted, but segments are merged") {
        Replica r;
        r.store.before = [&](const std::string& what, const std::string&) {
            CHECK(what != "remove");
        };
        auto keeper = r.keeper(std::nullopt);
        r.fork("00000000000000a1");
        for (int i = 0; i < 300; ++i)
            r.commit(seconds(2));
        r.snapshot();
        r.now += hours(24 * 100);
        r.commit(seconds(1));
        run_all(keeper);
        Stored s = look_at(r);
        CHECK(s.singles == 302);
        CHECK(s.merged >= 5);
        check_content(r);
    }

    TEST_CASE("missing rights to delete: one warning, merging goes on") {
        Replica r;
        auto keeper = r.keeper();
        r.store.before = [&](const std::string& what, const std::string&) {
            if (what == "remove")
                throw Error(ErrorKind::denied, "AccessDenied");
        };
        r.fork("00000000000000a1");
        for (int day = 0; day < 12; ++day) {
            for (int i = 0; i < 70; ++i)
                r.commit(seconds(2));
            r.snapshot();
            r.now += kDay;
            run_all(keeper);
        }
        CHECK(r.log.all.size() == 1);
        Stored s = look_at(r);
        CHECK(s.singles == 12 * 70 + 1);
        CHECK(s.merged >= 12);
        check_content(r);
    }

    TEST_CASE("a store that fails at any request loses nothing, and the work is done later") {
        Replica r;
        auto keeper = r.keeper();
        r.fork("00000000000000a1");
        std::uint64_t countdown = 0;
        r.store.before = [&](const std::string&, const std::string&) {
            if (countdown && --countdown == 0)
                throw Error(ErrorKind::transient, "503");
        };
        int failed = 0;
        for (int day = 0; day < 12; ++day) {
            for (int i = 0; i < 30; ++i)
                r.commit(seconds(20));
            r.snapshot();
            r.now += kDay;
            for (;;) {
                countdown = 1 + r.random() % 60;
                r.now += minutes(11);
                try {
                    if (!keeper.step({}))
                        break;
                } catch (const Error& e) {
                    CHECK(e.kind() == ErrorKind::transient);
                    ++failed;
                }
                check_promises(r, kDay * 7);
            }
        }
        CHECK(failed > 5);
        countdown = 0;
        r.now += minutes(11);
        run_all(keeper);
        check_content(r);
        CHECK(look_at(r).singles < 200);
        CHECK(temp_files(r) == 0);
    }

    TEST_CASE("a stop ends the work between two requests") {
        Replica r;
        auto keeper = r.keeper();
        r.fork("00000000000000a1");
        for (int i = 0; i < 70; ++i)
            r.commit(seconds(2));
        std::stop_source stop;
        r.store.before = [&](const std::string& what, const std::string&) {
            if (what == "get" && r.store.requests == 10)
                stop.request_stop();
        };
        r.now += minutes(11);
        r.store.requests = 0;
        try {
            while (keeper.step(stop.get_token())) {
            }
            FAIL_CHECK("not interrupted");
        } catch (const Interrupted&) {
        }
        CHECK(r.store.requests == 10);
        CHECK(look_at(r).merged == 0);
        run_all(keeper);
        CHECK(look_at(r).merged == 1);
    }

    TEST_CASE("two hosts: the second lists what the first made, and goes on") {
        Replica r;
        auto keeper = r.keeper();
        r.fork("00000000000000a1");
        for (int day = 0; day < 4; ++day) {
            if (day == 2)
                r.fork("00000000000000a2");
            for (int i = 0; i < 70; ++i)
                r.commit(seconds(2));
            r.snapshot();
            r.now += kDay;
            run_all(keeper);
        }
        for (int i = 0; i < 130; ++i)
            r.commit(seconds(2));
        r.now += minutes(11);
        run_all(keeper);
        auto known = [&] {
            std::map<std::string, CatalogueEntry> out;
            for (auto kind : {CatalogueEntry::Kind::segment, CatalogueEntry::Kind::merged,
                              CatalogueEntry::Kind::snapshot})
                for (const auto& e : r.state->entries(kind))
                    out[e.key] = e;
            return out;
        };
        auto before = known();
        QueuedSegment head = r.state->acknowledged();
        r.state = std::make_unique<ShipState>(r.dir / "other-cache");
        r.state->adopt(head);
        auto second = r.keeper();
        r.store.requests = 0;
        second.bootstrap();
        CHECK(r.store.requests < 60); // a few headers, not hundreds
        auto after = known();
        CHECK(after.size() == before.size());
        for (const auto& [key, e] : before) {
            REQUIRE(after.contains(key));
            CHECK(after[key].generation == e.generation);
            CHECK(after[key].range == e.range);
            CHECK(after[key].kind == e.kind);
            CHECK(after[key].size == e.size);
            CHECK(after[key].level == std::max(e.level, 0));
        }
        r.store.requests = 0;
        second.bootstrap();
        CHECK(r.store.requests == 0);
        for (int day = 0; day < 12; ++day) {
            for (int i = 0; i < 70; ++i)
                r.commit(seconds(2));
            r.snapshot();
            r.now += kDay;
            run_all(second);
            check_promises(r, kDay * 7);
        }
        check_content(r);

        // Back on the first host, whose catalogue is old: it lists anew.
        r.state->clear_note("catalogue");
        head = r.state->acknowledged();
        r.state = std::make_unique<ShipState>(r.dir / "cache");
        r.state->adopt(head);
        auto third = r.keeper();
        r.state->clear_note("catalogue");
        third.bootstrap();
        Stored s = look_at(r);
        CHECK(known().size() == s.objects.size() + s.snapshots.size());
        run_all(third);
        check_promises(r, kDay * 7);
        check_content(r);
    }

    TEST_CASE("damaged and foreign objects are left alone by a listing") {
        Replica r;
        r.fork("00000000000000a1");
        for (int i = 0; i < 20; ++i)
            r.commit(seconds(2));
        put_text(*r.inner, r.keys.segment(10), "junk");
        put_text(*r.inner, r.keys.segment(11), "junk");
        put_text(*r.inner, r.keys.snapshot(r.now), "junk");
        put_text(*r.inner, r.keys.merged({3, 4}), "junk");
        put_text(*r.inner, r.keys.segments() + "notes.txt", "mine");
        r.fork("00000000000000a2");
        for (int i = 0; i < 20; ++i)
            r.commit(seconds(2));
        for (std::uint64_t n = 15; n <= 28; ++n) // around the border of the generations
            put_text(*r.inner, r.keys.segment(n), "junk");
        put_text(*r.inner, r.keys.merged({5, 6}), "not read");
        put_text(*r.inner, r.keys.merged({5, 8}), "not read");
        ReplicaObjects c = scan_replica(r.store, r.keys, r.log);
        for (const CatalogueEntry& e : c.segments) {
            CAPTURE(e.key);
            CHECK(e.generation == r.moments.at(e.range.last).generation);
        }
        CHECK(c.segments.size() >= 28);
        for (const CatalogueEntry& e : c.merged)
            CHECK(e.level == (e.range.last == 8 ? 2 : 1));
        CHECK(c.merged.size() >= 2);
        CHECK(c.snapshots.size() == 2);
    }

    TEST_CASE("a damaged segment is warned of and stays outside of merges") {
        Replica r;
        auto keeper = r.keeper();
        r.fork("00000000000000a1");
        for (int i = 0; i < 140; ++i)
            r.commit(seconds(2));
        MemorySink bytes;
        r.inner->get(r.keys.segment(40), bytes);
        bytes.text.back() = static_cast<char>(bytes.text.back() ^ 1);
        put_text(*r.inner, r.keys.segment(40), bytes.text);
        r.inner->remove(r.keys.segment(60));
        r.now += minutes(11);
        run_all(keeper);
        CHECK(r.log.all.size() == 2);
        for (const auto& o : look_at(r).objects)
            if (o.range.first != o.range.last) {
                CHECK_FALSE((o.range.first <= 40 && o.range.last >= 40));
                CHECK_FALSE((o.range.first <= 60 && o.range.last >= 60));
            }
        CHECK(look_at(r).merged == 4); // 2-39, 41-59, 61-124; 125-... grows
    }

    TEST_CASE("a damaged merged object does not stand for its segments: it is written anew") {
        Replica r;
        auto keeper = r.keeper();
        r.fork("00000000000000a1");
        for (int i = 0; i < 64 * 17; ++i)
            r.commit(Millis(500));
        r.now += minutes(2);
        // Damage the first level-1 object before level 2 is made of it.
        bool done = false;
        r.store.before = [&](const std::string& what, const std::string& key) {
            auto range = r.keys.parse_merged(key);
            if (done || what != "get" || !range)
                return;
            done = true;
            MemorySink bytes;
            r.inner->get(key, bytes);
            bytes.text.back() = static_cast<char>(bytes.text.back() ^ 1);
            put_text(*r.inner, key, bytes.text);
        };
        run_all(keeper);
        CHECK(done);
        CHECK(r.log.all.size() == 2); // damaged; written anew
        check_content(r);
        bool level2 = false;
        for (const auto& e : r.state->entries(CatalogueEntry::Kind::merged))
            level2 |= e.level == 2;
        CHECK(level2);
    }

    TEST_CASE("without conditional creation, and with a merged object that is there already") {
        Replica r;
        r.store.conditional = false;
        r.fork("00000000000000a1");
        for (int i = 0; i < 70; ++i)
            r.commit(seconds(2));
        r.now += minutes(11);
        {
            auto keeper = r.keeper();
            run_all(keeper);
        }
        CHECK(look_at(r).merged == 1);
        auto merged = r.state->entries(CatalogueEntry::Kind::merged);
        REQUIRE(merged.size() == 1);
        CHECK(merged[0].range == SequenceRange{2, 65});
        r.state->remove_entry(merged[0].key);
        r.store.conditional = true;
        auto again = r.keeper();
        r.now += minutes(11);
        run_all(again);
        CHECK(r.state->entries(CatalogueEntry::Kind::merged).size() == 1);
        CHECK(r.log.all.empty());
        // A server that has no conditions after all.
        r.state->remove_entry(merged[0].key);
        r.inner->remove(merged[0].key);
        r.store.unsupported = true;
        auto plain = r.keeper();
        r.now += minutes(11);
        run_all(plain);
        r.store.unsupported = false;
        CHECK(look_at(r).merged == 1);
        CHECK(r.log.all.empty());
        // Junk in its place is replaced.
        r.state->remove_entry(merged[0].key);
        put_text(*r.inner, merged[0].key, std::string(5000, 'x'));
        auto third = r.keeper();
        r.now += minutes(11);
        run_all(third);
        CHECK(r.log.all.size() == 1);
        check_content(r);
        CHECK(get_segment_header(*r.inner, merged[0].key));
    }

#ifdef ZL_CRASH_POINTS
    TEST_CASE("killed at each point, it goes on") {
        for (const char* point : {"keep.merged", "keep.merged:2", "keep.deleted", "keep.deleted:50",
                                  "keep.deleted:120"}) {
            CAPTURE(point);
            Replica r;
            r.fork("00000000000000a1");
            for (int day = 0; day < 3; ++day) {
                for (int i = 0; i < 140; ++i)
                    r.commit(seconds(2));
                r.snapshot();
                r.now += kDay;
            }
            r.state.reset(); // no SQLite connection goes through a fork
            pid_t child = ::fork();
            REQUIRE(child >= 0);
            if (child == 0) {
                ::setenv("ZL_CRASH_AT", point, 1);
                r.state = std::make_unique<ShipState>(r.dir / "cache");
                auto keeper = r.keeper();
                while (keeper.step({})) {
                }
                ::_exit(0);
            }
            int status = 0;
            REQUIRE(::waitpid(child, &status, 0) == child);
            REQUIRE(WIFSIGNALED(status));
            CHECK(WTERMSIG(status) == SIGKILL);
            r.state = std::make_unique<ShipState>(r.dir / "cache");
            CHECK(temp_files(r) == 0);
            check_promises(r, kDay * 7);
            auto keeper = r.keeper();
            r.now += minutes(11);
            run_all(keeper);
            CHECK(r.log.all.empty());
            check_promises(r, kDay * 7);
            check_content(r);
            Stored s = look_at(r);
            CHECK(s.singles < 160);
            CHECK(r.state->entries(CatalogueEntry::Kind::segment).size() == s.singles);
            CHECK(r.state->entries(CatalogueEntry::Kind::merged).size() == s.merged);
        }
    }
#endif

} // TEST_SUITE

namespace {

CatalogueEntry object_at(CatalogueEntry::Kind kind, std::uint64_t first, std::uint64_t last,
                         Millis time, std::uint64_t size = 1000, int level = 0,
                         const char* generation = "a") {
    CatalogueEntry e;
    e.kind = kind;
    e.range = {first, last};
    e.key = std::to_string(static_cast<int>(kind)) + ":" + std::to_string(first) + "-" +
            std::to_string(last) + generation;
    e.generation = generation;
    e.time = TimePoint(hours(24 * 20000)) + time;
    e.size = size;
    e.level = level;
    return e;
}
CatalogueEntry single_at(std::uint64_t n, Millis time, std::uint64_t size = 1000, int level = 0,
                         const char* generation = "a") {
    return object_at(CatalogueEntry::Kind::segment, n, n, time, size, level, generation);
}
CatalogueEntry merged_at(std::uint64_t first, std::uint64_t last, Millis time, int level) {
    return object_at(CatalogueEntry::Kind::merged, first, last, time, 1000, level);
}
CatalogueEntry snapshot_at(std::uint64_t n, Millis time, const char* generation = "a") {
    return object_at(CatalogueEntry::Kind::snapshot, n, n, time, 9000, 0, generation);
}

KeepCatalogue catalogue(const ReplicaObjects& objects) {
    KeepCatalogue c(ReplicaKeys("db/app/"));
    for (const auto* list : {&objects.segments, &objects.merged, &objects.snapshots})
        for (const CatalogueEntry& e : *list)
            c.add(e);
    return c;
}

bool restorable(const ReplicaObjects& objects, const std::set<std::string>& removed) {
    return is_restorable(catalogue(objects), removed);
}

std::string planned(const ReplicaObjects& c, std::uint64_t max_bytes = 1 << 20) {
    std::string out;
    for (const PlannedMerge& m : plan_merges(catalogue(c), max_bytes))
        out += std::to_string(m.level) + ":" + std::to_string(m.range().first) + "-" +
               std::to_string(m.range().last) + " ";
    return out;
}

std::set<std::string> deleted(const ReplicaObjects& c, Millis now, Millis retain = kDay * 7,
                              Millis fine = kDay, std::uint64_t head = 0) {
    std::set<std::string> out;
    for (const CatalogueEntry& e :
         plan_deletes(catalogue(c), {retain, fine, TimePoint(hours(24 * 20000)) + now, head})) {
        out.insert(e.key);
        // It may stop anywhere: a kill, a store that is gone.
        CHECK(restorable(c, out));
    }
    return out;
}

} // namespace

TEST_SUITE("wal/keep catalogue") {

    TEST_CASE("entries come back as they were, with the usual keys and with others") {
        using Kind = CatalogueEntry::Kind;
        ReplicaKeys keys("db/app/");
        const TimePoint t(Millis(1'700'000'000'000));
        const CatalogueEntry entries[] = {
            {Kind::segment, keys.segment(7), "g1", {7, 7}, t, 700, 0},
            {Kind::segment, keys.segment(8), "g2", {8, 8}, t + seconds(1), 800, kStandsAlone},
            {Kind::segment, "elsewhere/9", "g1", {9, 9}, t, 900, 0},
            {Kind::merged, keys.merged({1, 6}), "g1", {1, 6}, t, 100, 2},
            {Kind::merged, "elsewhere/1-6", "g3", {1, 6}, t, 100, 3},
            {Kind::snapshot, keys.snapshot(t), "g2", {8, 8}, t, 5000, 0},
            {Kind::snapshot, keys.snapshot(t + seconds(1)), "g2", {8, 8}, t, 5001, 0},
        };
        KeepCatalogue c(keys);
        for (const CatalogueEntry& e : entries)
            c.add(e);
        REQUIRE(c.segments().size() == 3);
        REQUIRE(c.merged().size() == 2);
        REQUIRE(c.snapshots().size() == 2);
        std::size_t n = 0;
        for (const auto* list : {&c.segments(), &c.merged(), &c.snapshots()})
            for (const KeepEntry& kept : *list) {
                const CatalogueEntry &e = entries[n++], back = c.full(kept);
                CAPTURE(e.key);
                CHECK(back.kind == e.kind);
                CHECK(back.key == e.key);
                CHECK(back.generation == e.generation);
                CHECK(back.range == e.range);
                CHECK(back.time == e.time);
                CHECK(back.size == e.size);
                CHECK(back.level == e.level);
                CHECK(kept.alone == (e.level == kStandsAlone));
            }
        // What follows from the range is not kept.
        CHECK(c.segments()[0].key == 0);
        CHECK(c.merged()[0].key == 0);
        CHECK(sizeof(KeepEntry) <= 48);
    }

    TEST_CASE("what is said to be alone is not merged, of whatever level it is") {
        KeepCatalogue c(ReplicaKeys("db/app/"));
        for (std::uint64_t n = 1; n <= 12; ++n)
            c.add(single_at(n, seconds(n)), n == 7);
        auto plan = plan_merges(c, 1 << 20);
        REQUIRE(plan.size() == 1);
        CHECK(plan[0].range() == SequenceRange{1, 6});
        c = KeepCatalogue(ReplicaKeys("db/app/"));
        for (std::uint64_t n = 0; n < 3; ++n)
            c.add(merged_at(64 * n + 1, 64 * n + 64, seconds(n), 1), n == 0);
        c.add(snapshot_at(192, seconds(3)));
        plan = plan_merges(c, 1 << 20);
        REQUIRE(plan.size() == 1);
        CHECK(plan[0].range() == SequenceRange{65, 192});
    }

} // TEST_SUITE

TEST_SUITE("wal/retention") {

    TEST_CASE("runs close by window, number, size, border, never at the tip") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 20; ++n)
            c.segments.push_back(single_at(n, minutes(n)));
        // Windows of 5 minutes; what is after the last border waits for more.
        CHECK(planned(c) == "1:1-5 1:6-10 1:11-15 ");
        c.segments.push_back(single_at(21, minutes(21)));
        CHECK(planned(c) == "1:1-5 1:6-10 1:11-15 1:16-20 ");
        // Bytes: three at a time.
        CHECK(planned(c, 3000) == "1:1-3 1:4-6 1:7-9 1:10-12 1:13-15 1:16-18 ");
        // One that is too large stands by itself.
        c.segments[6].size = 1 << 21;
        CHECK(planned(c) == "1:1-5 1:8-12 1:13-17 ");
        c.segments[6].size = 1000;
        // One that stands alone.
        c.segments[7].level = kStandsAlone;
        CHECK(planned(c) == "1:1-5 1:6-7 1:9-13 1:14-18 ");
        c.segments[7].level = 0;
        // A hole.
        ReplicaObjects hole = c;
        hole.segments.erase(hole.segments.begin() + 7);
        CHECK(planned(hole) == "1:1-5 1:6-7 1:9-13 1:14-18 ");
        // Another generation.
        ReplicaObjects two = c;
        for (std::size_t i = 7; i < two.segments.size(); ++i)
            two.segments[i].generation = "b";
        CHECK(planned(two) == "1:1-5 1:6-7 1:8-12 1:13-17 ");
        // A snapshot's state begins an object; that of another generation does not matter.
        c.snapshots.push_back(snapshot_at(8, minutes(8)));
        c.snapshots.push_back(snapshot_at(11, minutes(11), "b"));
        CHECK(planned(c) == "1:1-5 1:6-8 1:9-13 1:14-18 ");
    }

    TEST_CASE("at most 64 in one, and a snapshot at the tip closes the run") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 130; ++n)
            c.segments.push_back(single_at(n, Millis(n)));
        CHECK(planned(c) == "1:1-64 1:65-128 ");
        c.snapshots.push_back(snapshot_at(130, Millis(130)));
        CHECK(planned(c) == "1:1-64 1:65-128 1:129-130 ");
    }

    TEST_CASE("what lasts longer than the window stays by itself, on each level") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 30; ++n)
            c.segments.push_back(single_at(n, minutes(10 * n)));
        // 10 minutes apart: nothing for level 1; level 2 takes them by the hour.
        CHECK(planned(c) == "2:1-6 2:7-12 2:13-18 2:19-24 ");
        c.merged = {merged_at(1, 6, minutes(60), 2), merged_at(7, 12, minutes(120), 2),
                    merged_at(13, 18, minutes(180), 2), merged_at(19, 24, minutes(240), 2)};
        CHECK(planned(c) == "");
        c.segments.push_back(single_at(31, hours(30)));
        c.segments.push_back(single_at(32, hours(31)));
        CHECK(planned(c) == "2:25-30 ");
        c.merged.push_back(merged_at(25, 30, minutes(300), 2));
        CHECK(planned(c) == "3:1-30 ");
    }

    TEST_CASE("level 2 waits for level 1, and takes 16 at most") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 64 * 18 + 1; ++n)
            c.segments.push_back(single_at(n, Millis(100 * n)));
        for (std::uint64_t n = 0; n < 17; ++n)
            c.merged.push_back(merged_at(64 * n + 1, 64 * n + 64, Millis(6400 * (n + 1)), 1));
        CHECK(planned(c) == "1:1089-1152 2:1-1024 ");
        c.merged.erase(c.merged.begin() + 3);
        // 193-256 is missing: it is made first, and what is before it waits for it.
        CHECK(planned(c) == "1:193-256 1:1089-1152 ");
    }

    TEST_CASE("is_restorable: no kept state may lose its way") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 20; ++n)
            c.segments.push_back(single_at(n, minutes(n)));
        c.snapshots = {snapshot_at(1, minutes(1)), snapshot_at(10, minutes(10))};
        c.merged = {merged_at(2, 5, minutes(5), 1)};
        auto key = [&](std::uint64_t n) { return c.segments[n - 1].key; };
        CHECK(restorable(c, {}));
        CHECK(restorable(c, {key(2), key(3), key(4), key(5)}));
        CHECK(restorable(c, {key(3)}) == false); // 4 is kept and lost
        CHECK(restorable(c, {key(3), key(4)}));  // 5 is reached by 2-5
        CHECK_FALSE(restorable(c, {key(6)}));
        CHECK(restorable(c, {key(6), key(7), key(8), key(9)}));
        CHECK_FALSE(restorable(c, {c.snapshots[0].key}));
        CHECK_FALSE(restorable(c, {c.snapshots[1].key, key(10)}));
        CHECK(restorable(c, {c.snapshots[1].key}));
        CHECK(restorable(c, {c.merged[0].key}));
        CHECK_FALSE(restorable(c, {c.merged[0].key, key(3), key(4)}));
        CHECK_FALSE(restorable(c, {key(15)}));
    }

    TEST_CASE("deleting: never the head, the newest snapshot, what is after it, what is young") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 20; ++n)
            c.segments.push_back(single_at(n, hours(n)));
        c.snapshots = {snapshot_at(1, hours(1)), snapshot_at(10, hours(10)),
                       snapshot_at(15, hours(15))};
        c.merged = {merged_at(2, 15, hours(15), 1), merged_at(16, 20, hours(20), 1)};
        // A year later, all is older than anything: base is 15.
        auto gone = deleted(c, kDay * 365);
        for (std::uint64_t n = 1; n <= 20; ++n)
            CHECK(gone.contains(c.segments[n - 1].key) == (n <= 15));
        CHECK(gone.contains(c.snapshots[0].key));
        CHECK(gone.contains(c.snapshots[1].key));
        CHECK_FALSE(gone.contains(c.snapshots[2].key));
        CHECK(gone.contains(c.merged[0].key));
        // Younger than a day, whatever was asked for.
        CHECK(deleted(c, hours(24), Millis(1), Millis(1)).empty());
        gone = deleted(c, hours(30), Millis(1), Millis(1));
        CHECK_FALSE(gone.empty());
        for (std::uint64_t n = 7; n <= 20; ++n)
            CHECK_FALSE(gone.contains(c.segments[n - 1].key));
        // The head is at the newest snapshot.
        c.segments.resize(15);
        c.merged.resize(1);
        gone = deleted(c, kDay * 365);
        CHECK(gone.contains(c.segments[13].key));
        CHECK_FALSE(gone.contains(c.segments[14].key));
        gone = deleted(c, kDay * 365, kDay * 7, kDay, 12); // another is acknowledged as head
        CHECK_FALSE(gone.contains(c.segments[11].key));
        // Without a snapshot nothing goes.
        c.snapshots.clear();
        CHECK(deleted(c, kDay * 365).empty());
    }

    TEST_CASE("deleting: moments of the last 24 h count, not the age of what they need") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 10; ++n)
            c.segments.push_back(single_at(n, hours(n)));
        c.segments.push_back(single_at(11, hours(40)));
        c.snapshots = {snapshot_at(1, hours(1)), snapshot_at(10, hours(10)),
                       snapshot_at(11, hours(40))};
        // An hour ago, and 20 hours ago too, state 10 was the newest.
        auto gone = deleted(c, hours(41), Millis(1), Millis(1));
        CHECK_FALSE(gone.contains(c.snapshots[1].key));
        CHECK(gone.contains(c.snapshots[0].key));

        ReplicaObjects d;
        d.segments = {single_at(1, Millis(0)), single_at(2, hours(1)), single_at(3, hours(20)),
                      single_at(4, hours(29))};
        d.snapshots = {snapshot_at(1, Millis(0)), snapshot_at(4, hours(29))};
        d.merged = {merged_at(2, 3, hours(20), 1)};
        CHECK(deleted(d, hours(30), kDay * 7, Millis(1)).empty()); // 2 was the newest until 20
        CHECK(deleted(d, hours(44), kDay * 7, Millis(1)).contains(d.segments[1].key));
    }

    TEST_CASE("deleting: the base stays, and all that is after it but what is covered") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 40; ++n)
            c.segments.push_back(single_at(n, kDay * n));
        for (std::uint64_t n : {5U, 12U, 20U, 33U})
            c.snapshots.push_back(snapshot_at(n, kDay * n));
        c.merged = {merged_at(21, 25, kDay * 25, 1), merged_at(26, 32, kDay * 32, 2)};
        auto gone = deleted(c, kDay * 34, kDay * 10);
        // 21-25 went with the day after 25; 26-32 is of level 2 and goes three days after 32.
        for (const CatalogueEntry& e : c.segments)
            CHECK(gone.contains(e.key) == (e.range.last <= 25));
        for (const CatalogueEntry& e : c.segments)
            CHECK(deleted(c, kDay * 35, kDay * 10).contains(e.key) == (e.range.last <= 32));
        for (const CatalogueEntry& s : c.snapshots)
            CHECK(gone.contains(s.key) == (s.range.last < 20));
    }

    TEST_CASE("deleting: of the snapshots of a day the last, and the first of a generation") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 24 * 5; ++n) {
            c.segments.push_back(single_at(n, hours(n)));
            c.snapshots.push_back(snapshot_at(n, hours(n)));
        }
        auto gone = deleted(c, hours(24 * 5), kDay * 100);
        std::set<std::uint64_t> left;
        for (const CatalogueEntry& s : c.snapshots)
            if (!gone.contains(s.key) && s.range.last < 95)
                left.insert(s.range.last);
        CHECK(left == std::set<std::uint64_t>{1, 23, 47, 71});
    }

    TEST_CASE("a snapshot within a merged range keeps the segments that go on from it") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 20; ++n)
            c.segments.push_back(single_at(n, minutes(n)));
        c.snapshots = {snapshot_at(1, minutes(1)), snapshot_at(5, hours(25)),
                       snapshot_at(19, hours(60))};
        c.merged = {merged_at(2, 10, minutes(10), 1)};
        auto gone = deleted(c, hours(48), kDay * 100);
        for (std::uint64_t n = 2; n <= 10; ++n) {
            CAPTURE(n);
            CHECK(gone.contains(c.segments[n - 1].key) == (n <= 5));
        }
    }

    TEST_CASE("a prune from outside and a keeper delete at once, and what is kept is restorable") {
        // 20 days: a segment an hour, snapshots at uneven hours, merged ones between them.
        std::mt19937 random(7);
        int prunes = 0, unsafe = 0;
        for (int round = 0; round < 40; ++round) {
            ReplicaObjects c;
            std::uint64_t begin = 1;
            for (std::uint64_t n = 1; n <= 20 * 24; ++n) {
                c.segments.push_back(single_at(n, hours(n)));
                const bool snapshot = random() % 7 == 0 || n == 1;
                if (snapshot)
                    c.snapshots.push_back(snapshot_at(n, hours(n)));
                if ((snapshot || random() % 4 == 0) && n > begin)
                    c.merged.push_back(merged_at(begin, n, hours(n), 1));
                if (snapshot || random() % 4 == 0 || c.merged.empty() ||
                    c.merged.back().range.last == n)
                    begin = n + 1;
            }
            auto plan = [](const ReplicaObjects& o, Millis now, Millis retain, Millis fine,
                           bool beside) {
                RetentionRules rules{retain, fine, TimePoint(hours(24 * 20000)) + now, 0};
                rules.beside_a_keeper = beside;
                std::vector<std::string> keys;
                for (const CatalogueEntry& e : plan_deletes(catalogue(o), rules))
                    keys.push_back(e.key);
                return keys;
            };
            // What the keeper has thinned before.
            const Millis fine = kDay * (1 + random() % 3);
            for (const std::string& key : plan(c, kDay * (random() % 20), kDay * 9, fine, false))
                for (auto* list : {&c.segments, &c.merged, &c.snapshots})
                    std::erase_if(*list, [&](const CatalogueEntry& e) { return e.key == key; });
            const Millis now = hours(20 * 24 + random() % 48);
            const Millis within = kDay * (1 + random() % 12);
            const auto keeper = plan(c, now, kDay * (1 + random() % 12), fine, false);
            for (bool beside : {true, false}) {
                const auto prune = plan(c, now, within, kDay * 1000, beside);
                prunes += beside && !prune.empty();
                for (int part = 0; part < 8; ++part) {
                    auto some = [&](const std::vector<std::string>& keys) {
                        const auto n = static_cast<std::ptrdiff_t>(
                            part == 0 ? keys.size() : random() % (keys.size() + 1));
                        return std::set<std::string>(keys.begin(), keys.begin() + n);
                    };
                    std::set<std::string> gone = some(keeper);
                    gone.merge(some(prune));
                    if (beside)
                        CHECK(restorable(c, gone));
                    else
                        unsafe += !restorable(c, gone);
                }
            }
        }
        CHECK(prunes > 20);
        CHECK(unsafe > 0); // that is what the flag is for
    }

    TEST_CASE("a large catalogue is planned in no time") {
        ReplicaObjects c;
        for (std::uint64_t n = 1; n <= 100000; ++n)
            c.segments.push_back(single_at(n, seconds(n)));
        for (std::uint64_t n = 0; n < 1500; ++n)
            c.merged.push_back(merged_at(64 * n + 1, 64 * n + 64, seconds(64 * n + 64), 1));
        for (std::uint64_t n = 1; n <= 27; ++n)
            c.snapshots.push_back(snapshot_at(3600 * n, seconds(3600 * n)));
        auto begin = std::chrono::steady_clock::now();
        CHECK(plan_merges(catalogue(c), 64 << 20).size() > 90);
        auto gone =
            plan_deletes(catalogue(c), {kDay * 7, kDay, TimePoint(hours(24 * 20000 + 29)), 0});
        CHECK(gone.size() > 10000);
        CHECK(std::chrono::steady_clock::now() - begin < seconds(20));
    }

} // TEST_SUITE

namespace {

/// Segments made straight from page sets.
MergeSource source_of(const TempDir& dir, std::uint64_t sequence, std::uint32_t page_size,
                      std::uint32_t page_count, const Pages& pages, const SegmentHeader* before) {
    SegmentHeader h;
    h.db_id = "00000000000000db";
    h.generation = "00000000000000a1";
    h.writer = "00000000000000ff";
    h.sequence = h.first_sequence = sequence;
    h.time = h.first_time = TimePoint(seconds(1000 + sequence));
    h.page_size = page_size;
    h.page_count = page_count;
    h.checksum_after = sequence;
    h.checksum_before = sequence - 1;
    if (before)
        h.prev = before->id();
    MergeSource s{open_file(dir / ("s" + std::to_string(sequence)), O_RDWR | O_CREAT | O_TRUNC),
                  {},
                  "segment " + std::to_string(sequence)};
    SegmentWriter w(s.fd.get(), s.name, page_size, sequence, 1);
    for (const auto& [page, data] : pages)
        w.page(page, data);
    w.finish(h);
    s.header = h;
    return s;
}

long peak_kib() {
    std::string status = *read_file("/proc/self/status");
    return std::atol(status.substr(status.find("VmHWM:") + 6).c_str());
}

} // namespace

TEST_SUITE("wal/merger") {

    TEST_CASE("each page once in its newest version, none beyond the end; many and large sources") {
        for (std::uint32_t page_size : {512U, 65536U}) {
            TempDir dir;
            std::mt19937_64 random(7);
            std::vector<MergeSource> sources;
            Pages truth;
            std::uint32_t count = 100;
            for (std::uint64_t n = 1; n <= 40; ++n) {
                Pages pages;
                std::uint32_t now = n == 20 ? 60 : n == 30 ? 120 : count;
                count = now;
                for (int i = 0; i < 50; ++i) {
                    auto page = static_cast<std::uint32_t>(1 + random() % count);
                    pages[page].resize(page_size);
                    for (std::size_t b = 0; b < page_size; b += 7)
                        pages[page][b] = static_cast<std::byte>(random());
                }
                for (const auto& [page, data] : pages)
                    truth[page] = data;
                truth.erase(truth.upper_bound(count), truth.end());
                sources.push_back(source_of(dir, n, page_size, count, pages,
                                            sources.empty() ? nullptr : &sources.back().header));
                CHECK(not_mergeable(n == 1 ? nullptr : &sources[n - 2].header,
                                    sources[n - 1].header) == "");
            }
            Digest last = sources.back().header.id();
            SegmentHeader first = sources.front().header;
            UniqueFd out = open_file(dir / "out", O_RDWR | O_CREAT);
            // The peak until here is the test's own.
            {
                UniqueFd clear(::open("/proc/self/clear_refs", O_WRONLY));
                if (clear)
                    write_full(clear.get(), as_bytes("5"), "clear_refs");
            }
            long before = peak_kib();
            SegmentHeader h =
                merge_segments(std::move(sources), out.get(), dir / "", "00000000000000ee", "me");
            CHECK(peak_kib() - before < 12 << 10);
            CHECK(verify_segment_file(out.get(), "out").id() == h.id());
            CHECK(h.kind == SegmentKind::merged);
            CHECK(h.first_sequence == 1);
            CHECK(h.sequence == 40);
            CHECK(h.prev == first.prev);
            CHECK(h.last == last);
            CHECK(h.checksum_before == 0);
            CHECK(h.checksum_after == 40);
            CHECK(h.first_time == first.time);
            CHECK(h.time == TimePoint(seconds(1040)));
            CHECK(h.page_count == 120);
            CHECK(h.writer == "00000000000000ee");
            std::string bytes = *read_file(dir / "out", 1 << 30);
            MemorySource body(as_bytes(bytes).subspan(kSegmentHeaderSize));
            Pages got;
            read_segment(h, body, "out", [&](std::uint32_t page, Bytes data) {
                got[page].assign(data.begin(), data.end());
            });
            CHECK(got == truth);
            // Only what the test made is in the directory.
            std::size_t files = 0;
            for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(dir / ""))
                ++files;
            CHECK(files == 41);
        }
    }

    TEST_CASE("what does not follow is not merged") {
        TempDir dir;
        MergeSource a = source_of(dir, 1, 512, 1, {}, nullptr);
        auto why = [&](const std::function<void(SegmentHeader&)>& change) {
            SegmentHeader h = source_of(dir, 2, 512, 1, {}, &a.header).header;
            change(h);
            return not_mergeable(&a.header, h);
        };
        CHECK(why([](auto&) {}) == "");
        CHECK(why([](auto& h) { h.kind = SegmentKind::claim; }) != "");
        CHECK(why([](auto& h) { h.resync = "x"; }) != "");
        CHECK(why([](auto& h) { h.gap_from = h.time; }) != "");
        CHECK(why([](auto& h) { h.prev = {}; }) != "");
        CHECK(why([](auto& h) { h.first_sequence = 3; }) != "");
        CHECK(why([](auto& h) { h.generation = "00000000000000a2"; }) != "");
        CHECK(why([](auto& h) { h.db_id = "00000000000000a2"; }) != "");
        CHECK(why([](auto& h) { h.page_size = 1024; }) != "");
        CHECK(why([](auto& h) { h.checksum_before = 7; }) != "");
    }

} // TEST_SUITE
