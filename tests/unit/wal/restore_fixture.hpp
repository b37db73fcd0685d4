/// Replicas for tests: SQL on a real database, what changed as segments, all states kept to
/// compare.
#pragma once

#include "../temp_dir.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "store/open_store.hpp"
#include "wal/replica_keys.hpp"
#include "wal/replica_metadata.hpp"
#include "wal/restorer.hpp"
#include "wal/segment.hpp"
#include "wal/snapshot.hpp"

#include <doctest/doctest.h>
#include <sqlite3.h>

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace zl::restore_test {

inline std::string whole_file(const std::string& path) {
    return read_file(path, std::size_t{1} << 32).value_or("");
}

using Directory = test::TempDir;

class Sql {
public:
    explicit Sql(const std::string& path, int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) {
        REQUIRE(sqlite3_open_v2(path.c_str(), &db_, flags, nullptr) == SQLITE_OK);
        sqlite3_busy_timeout(db_, 10000);
    }
    Sql(const Sql&) = delete;
    Sql& operator=(const Sql&) = delete;
    ~Sql() { sqlite3_close(db_); }
    std::string run(const std::string& sql) {
        std::string last;
        char* error = nullptr;
        auto keep = [](void* out, int n, char** values, char**) {
            *static_cast<std::string*>(out) = values[n - 1] ? values[n - 1] : "NULL";
            return 0;
        };
        int code = sqlite3_exec(db_, sql.c_str(), keep, &last, &error);
        const std::string reason = error ? error : "";
        INFO(sql << ": " << reason);
        sqlite3_free(error);
        REQUIRE(code == SQLITE_OK);
        return last;
    }

private:
    sqlite3* db_ = nullptr;
};

/// Log lines, kept.
class Lines final : public Log {
public:
    void write(LogLevel level, std::string_view m) override {
        std::lock_guard lock(mutex_);
        if (level <= LogLevel::warning)
            text += std::string(m) + "\n";
    }
    std::string text;

private:
    std::mutex mutex_;
};

class TextPages final : public PageSource {
public:
    TextPages(const std::string& data, std::uint32_t page_size) : data_(data), size_(page_size) {}
    std::uint32_t page_size() const override { return size_; }
    std::uint32_t page_count() const override {
        return static_cast<std::uint32_t>(data_.size() / size_);
    }
    void read(std::uint32_t first, std::span<std::byte> out) override {
        std::memcpy(out.data(), data_.data() + (std::size_t{first} - 1) * size_, out.size());
        const std::size_t lock = std::size_t{lock_page(size_)} - 1;
        if (std::size_t{first} - 1 <= lock && lock < first - 1 + out.size() / size_)
            std::memset(out.data() + (lock - first + 1) * size_, 0, size_);
    }

private:
    const std::string& data_;
    std::uint32_t size_;
};

/// A source and its replica `app` in a directory store.
class Replica {
public:
    explicit Replica(std::uint32_t page_size = 4096, const std::string& name = "app")
        : keys(ReplicaKeys::of_name(name)), page_size_(page_size) {
        store = open_local_store(StoreUrl::parse("file://" + dir.path() + "/store"), {}, log);
        sql("PRAGMA page_size=" + std::to_string(page_size) + "; PRAGMA journal_mode=WAL;");
    }

    void sql(const std::string& text) {
        Sql db(dir / "app.db");
        db.run(text);
        db.run("PRAGMA wal_checkpoint(TRUNCATE)");
    }
    std::string bytes() const { return whole_file(dir / "app.db"); }

    /// What the database is now, as the next segment.
    std::uint64_t ship() { return write_segment(SegmentKind::segment, bytes()); }
    std::uint64_t ship(const std::string& text) {
        sql(text);
        return ship();
    }
    /// A new generation that goes on from @p parent_sequence; without a snapshot yet.
    std::uint64_t claim(std::uint64_t parent_sequence = 0) {
        GenerationInfo g;
        g.parent = generation;
        generation = "00000000000000" + std::to_string(10 + metadata.generations.size());
        g.id = generation;
        g.fork_sequence = parent_sequence;
        g.first_sequence = sequence + 1;
        g.started = time;
        std::uint64_t n = write_segment(SegmentKind::claim, bytes(), g);
        metadata.generations.push_back(g);
        return n;
    }
    /// A snapshot of the state as of the last segment.
    std::string snapshot() {
        SnapshotHeader h;
        h.db_id = kDbId;
        h.generation = generation;
        h.writer = kWriter;
        h.host = "test";
        h.sequence = sequence;
        h.chain = ids[sequence];
        h.time = times[sequence];
        h.created_at = time + Millis(3);
        TextPages pages(states[sequence], page_size_);
        MemorySink out;
        write_snapshot(pages, h, out, 3, 2);
        CHECK(h.checksum == sum_of(states[sequence]));
        const std::string key = keys.snapshot(h.created_at);
        store->put(key, MemoryBody(out.text));
        metadata.latest_snapshot = key;
        metadata.latest_snapshot_time = h.created_at;
        metadata.latest_snapshot_sequence = sequence;
        ++metadata.snapshot_count;
        return key;
    }
    void write_metadata() {
        metadata.format = kReplicaFormat;
        metadata.latest_wal_sequence = sequence;
        metadata.db_identifier = kDbId;
        metadata.generation = generation;
        metadata.writer = kWriter;
        metadata.host = "test";
        metadata.last_modified = time;
        put_replica_metadata(*store, keys, metadata);
    }
    /// Segments first..last as one object more.
    std::string merge(std::uint64_t first, std::uint64_t last) {
        std::map<std::uint32_t, bool> changed;
        const std::string& to = states[last];
        for (std::uint64_t s = first; s <= last; ++s)
            for (std::uint32_t p : difference(states[s - 1], states[s]))
                if (p <= to.size() / page_size_)
                    changed[p] = true;
        SegmentHeader h = headers[last];
        h.kind = SegmentKind::merged;
        h.first_sequence = first;
        h.first_time = times[first];
        h.prev = headers[first].prev;
        h.last = ids[last];
        h.checksum_before = headers[first].checksum_before;
        h.resync.clear();
        h.gap_from = std::nullopt;
        std::vector<std::uint32_t> pages;
        for (auto [p, yes] : changed)
            pages.push_back(p);
        const std::string key = keys.merged({first, last});
        store->put(key, MemoryBody(segment_bytes(h, pages, to)));
        return key;
    }
    void forget(std::uint64_t first, std::uint64_t last) {
        for (; first <= last; ++first)
            store->remove(keys.segment(first));
    }

    std::unique_ptr<Restorer> restorer(Restorer::Options o = {}) { return restorer(*store, o); }
    std::unique_ptr<Restorer> restorer(ObjectStore& s, Restorer::Options o = {}) {
        return std::make_unique<Restorer>(s, keys, o, log, progress, std::stop_token());
    }

    static constexpr const char* kDbId = "00000000000000db";
    static constexpr const char* kWriter = "0000000000000777";
    Directory dir;
    Lines log;
    NullProgress progress;
    ReplicaKeys keys;
    std::unique_ptr<ObjectStore> store;
    ReplicaMetadata metadata;
    std::string generation;
    std::uint64_t sequence = 0;
    TimePoint time = parse_time("2026-11-22T06:00:00Z");
    Millis step{1000};
    std::optional<TimePoint> gap_from; ///< of the next segment
    std::map<std::uint64_t, std::string> states;
    std::map<std::uint64_t, SegmentHeader> headers;
    std::map<std::uint64_t, Digest> ids;
    std::map<std::uint64_t, TimePoint> times;

    DbChecksum sum_of(const std::string& data) const {
        DbChecksum sum = 0;
        for (std::uint32_t p = 1; p <= data.size() / page_size_; ++p)
            if (p != lock_page(page_size_))
                sum += page_hash(p, page(data, p));
        return sum;
    }
    Bytes page(const std::string& data, std::uint32_t p) const {
        return as_bytes(data).subspan((std::size_t{p} - 1) * page_size_, page_size_);
    }

private:
    std::vector<std::uint32_t> difference(const std::string& from, const std::string& to) const {
        std::vector<std::uint32_t> out;
        for (std::uint32_t p = 1; p <= to.size() / page_size_; ++p) {
            if (p == lock_page(page_size_))
                continue;
            if (std::size_t{p} * page_size_ > from.size() ||
                std::memcmp(page(from, p).data(), page(to, p).data(), page_size_) != 0)
                out.push_back(p);
        }
        return out;
    }

    std::string segment_bytes(SegmentHeader& h, const std::vector<std::uint32_t>& pages,
                              const std::string& data) {
        const std::string path = dir / "segment";
        UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
        SegmentWriter writer(fd.get(), path, page_size_, h.sequence);
        for (std::uint32_t p : pages)
            writer.page(p, page(data, p));
        writer.finish(h);
        return whole_file(path);
    }

    std::uint64_t write_segment(SegmentKind kind, const std::string& data, GenerationInfo g = {}) {
        SegmentHeader h;
        h.kind = kind;
        h.db_id = kDbId;
        h.generation = generation;
        h.writer = kWriter;
        h.host = "test";
        h.prev = ids[sequence];
        h.checksum_before = sequence ? sum_of(states[sequence]) : 0;
        h.sequence = h.first_sequence = ++sequence;
        time += step;
        h.time = h.first_time = time;
        h.page_size = page_size_;
        h.page_count = static_cast<std::uint32_t>(data.size() / page_size_);
        h.checksum_after = sum_of(data);
        h.gap_from = std::exchange(gap_from, std::nullopt);
        h.parent = g.parent;
        h.fork_sequence = g.fork_sequence;
        std::vector<std::uint32_t> pages;
        if (kind == SegmentKind::claim)
            h.checksum_before = h.checksum_after;
        else
            pages = difference(states[sequence - 1], data);
        store->put(keys.segment(sequence), MemoryBody(segment_bytes(h, pages, data)));
        states[sequence] = data;
        headers[sequence] = h;
        ids[sequence] = h.id();
        times[sequence] = time;
        return sequence;
    }

    std::uint32_t page_size_;
};

} // namespace zl::restore_test
