/// What the tests of restoring share beside the replicas.
#pragma once

#include "store/forwarding_store.hpp"
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

/// Fails or counts, by operation and key.
class Wrapped final : public ForwardingStore {
public:
    using ForwardingStore::ForwardingStore;
    std::function<void(const std::string& verb, const std::string& key)> before;
    std::atomic<int> requests = 0;

    std::optional<ObjectInfo> head(const std::string& key) override {
        note("HEAD", key);
        return inner_.head(key);
    }
    std::optional<ObjectInfo> get(const std::string& key, Sink& sink,
                                  const GetOptions& options) override {
        note(options.range ? "RANGE" : "GET", key);
        return inner_.get(key, sink, options);
    }
    void list(const std::string& prefix, const ListOptions& options,
              const std::function<bool(const ObjectInfo&)>& visit) override {
        note("LIST", prefix);
        inner_.list(prefix, options, visit);
    }

private:
    void note(const std::string& verb, const std::string& key) {
        ++requests;
        if (before)
            before(verb, key);
    }
};

} // namespace zl::restore_test
