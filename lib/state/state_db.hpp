/// What zl-push must not forget: pushes under way, their parts, uploads that may be ours.
///
/// A cache of facts with one exception: the spool file of a push exists nowhere else. Everything
/// else can be found again by looking at the store; a lost database therefore costs resent bytes,
/// and a multipart upload that nobody knows (the store's lifecycle rule or zl-prune ends it).
#pragma once

#include "base/units.hpp"
#include "state/sqlite.hpp"

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace zl {

/// One push. The state says what is durable; see lib/transfer/push_job.hpp.
struct PushRow {
    std::int64_t id = 0;
    std::string store_url; ///< as given, without secrets: a later run opens it again
    std::string store;     ///< ObjectStore::identity()
    std::string prefix;    ///< `layers/`
    std::string name;      ///< empty: no ref
    std::string kind;      ///< layer, foreign, raw
    std::string state;     ///< spooling, spooled, creating, ...
    std::string spool;     ///< path of the spool file
    std::string digest;    ///< hex; raw: SHA-256 of the bytes. Empty while spooling
    std::string blob_sha256;
    std::uint64_t blob_size = 0;
    std::uint64_t size_bytes = 0;
    std::uint64_t file_count = 0;
    bool incomplete = false;
    bool force = false;
    std::string ref_time; ///< key form; empty while spooling
    std::string tags;     ///< JSON object
    std::uint64_t part_size = 0;
    std::string upload_id;
    std::string creating_at; ///< RFC 3339, by the store's clock
    std::string created_at;
    std::string last_error;

    /// Its input is complete, and not all of it is done.
    bool is_pending() const { return state != "spooling" && state != "done"; }
};

struct PartRow {
    int number = 0;
    std::uint64_t size = 0;
    std::string etag;
};

/// An upload that may be ours: begun inside our `creating` window when the reply was lost.
struct SuspectRow {
    std::string store, key, upload_id;
};

/// Thread-safe (one mutex); several processes may use one file.
class StateDb {
public:
    /// Opens or creates the database and brings its schema up to date. Throws data when a newer zl
    /// wrote it.
    explicit StateDb(const std::string& path);

    std::int64_t insert_push(const PushRow& row);
    /// Writes every column of row.id. One transaction, durable when it returns.
    void update_push(const PushRow& row);
    std::optional<PushRow> find_push(std::int64_t id);
    /// All pushes, oldest first.
    std::vector<PushRow> pushes();
    /// Forgets a push and its parts.
    void delete_push(std::int64_t id);

    /// One transaction: the upload of @p from (id, part size, parts, state) becomes that of @p to,
    /// and
    /// @p from is `spooled` again, without an upload. Both are updated.
    void move_upload(PushRow& from, PushRow& to);

    void record_part(std::int64_t push_id, const PartRow& part);
    std::map<int, PartRow> parts(std::int64_t push_id);
    void delete_parts(std::int64_t push_id);

    void add_suspect(const SuspectRow& row);
    std::vector<SuspectRow> suspects(const std::string& store);
    void delete_suspect(const SuspectRow& row);

    /// Facts of a store, or of another thing by its name (spool_sweep: since when a spool is dead).
    std::optional<std::string> fact(const std::string& store, const std::string& name);
    void set_fact(const std::string& store, const std::string& name, const std::string& value);
    void delete_fact(const std::string& store, const std::string& name);
    /// Of that name: store -> value.
    std::map<std::string, std::string> facts(const std::string& name);

private:
    void write_push(const PushRow& row);
    std::mutex mutex_;
    Db db_;
};

} // namespace zl
