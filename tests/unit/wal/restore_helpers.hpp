/// What the tests of restoring share beside the replicas.
#pragma once

#include "restore_fixture.hpp"

#include <atomic>
#include <random>

namespace zl::restore_test {

struct Failure {
    ErrorKind kind = ErrorKind::internal;
    std::string message, hint;
};

inline Failure failure_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& e) {
        return {e.kind(), e.message(), e.hint()};
    }
    return {ErrorKind::usage, "no failure", ""};
}

inline std::string dump_hex(std::uint64_t v) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(v));
    return text;
}

inline bool has(const std::string& text, const std::string& part) {
    const bool found = text.find(part) != std::string::npos;
    if (!found)
        MESSAGE("not in: " << text);
    return found;
}

/// Restores into a new file; its bytes.
inline std::string restored(Replica& source, const RestoreTarget& target = {},
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

inline RestoreTarget sequence(std::uint64_t n) {
    RestoreTarget t;
    t.sequence = n;
    return t;
}
inline RestoreTarget at(TimePoint time) {
    RestoreTarget t;
    t.at = time;
    return t;
}

/// A table that grows, shrinks and is rewritten; @p n segments after claim and snapshot.
inline void fill(Replica& source, int n, unsigned seed = 1) {
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

} // namespace zl::restore_test
