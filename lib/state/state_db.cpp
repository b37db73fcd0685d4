#include "state/state_db.hpp"

namespace zl {

namespace {

constexpr int kSchema = 1;

constexpr const char* kCreate = R"sql(
CREATE TABLE push (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  store_url TEXT NOT NULL, store TEXT NOT NULL, prefix TEXT NOT NULL, name TEXT NOT NULL,
  kind TEXT NOT NULL, state TEXT NOT NULL, spool TEXT NOT NULL UNIQUE,
  digest TEXT NOT NULL, blob_sha256 TEXT NOT NULL, blob_size INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL, file_count INTEGER NOT NULL, incomplete INTEGER NOT NULL,
  force INTEGER NOT NULL, ref_time TEXT NOT NULL, tags TEXT NOT NULL, part_size INTEGER NOT NULL,
  upload_id TEXT NOT NULL, creating_at TEXT NOT NULL, created_at TEXT NOT NULL,
  last_error TEXT NOT NULL);
CREATE TABLE push_part (
  push_id INTEGER NOT NULL REFERENCES push(id) ON DELETE CASCADE,
  number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
  PRIMARY KEY (push_id, number)) WITHOUT ROWID;
CREATE TABLE suspect (
  store TEXT NOT NULL, key TEXT NOT NULL, upload_id TEXT NOT NULL,
  PRIMARY KEY (store, key, upload_id)) WITHOUT ROWID;
CREATE TABLE fact (
  store TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (store, name)) WITHOUT ROWID;
PRAGMA user_version = 1;
)sql";

constexpr std::string_view kColumns =
    "store_url, store, prefix, name, kind, state, spool, digest, blob_sha256, blob_size, "
    "size_bytes,"
    " file_count, incomplete, force, ref_time, tags, part_size, upload_id, creating_at, created_at,"
    " last_error";
constexpr int kColumnCount = 21;

void bind_row(Stmt& s, const PushRow& r) {
    int i = 0;
    for (const std::string* text : {&r.store_url, &r.store, &r.prefix, &r.name, &r.kind, &r.state,
                                    &r.spool, &r.digest, &r.blob_sha256})
        s.bind(++i, *text);
    for (std::uint64_t number : {r.blob_size, r.size_bytes, r.file_count})
        s.bind(++i, number);
    for (bool flag : {r.incomplete, r.force})
        s.bind(++i, flag ? 1 : 0);
    for (const std::string* text : {&r.ref_time, &r.tags})
        s.bind(++i, *text);
    s.bind(++i, r.part_size);
    for (const std::string* text : {&r.upload_id, &r.creating_at, &r.created_at, &r.last_error})
        s.bind(++i, *text);
}

PushRow read_row(const Stmt& s) {
    PushRow r;
    r.id = s.column_int(0);
    int i = 0;
    for (std::string* text : {&r.store_url, &r.store, &r.prefix, &r.name, &r.kind, &r.state,
                              &r.spool, &r.digest, &r.blob_sha256})
        *text = s.column_text(++i);
    r.blob_size = s.column_uint(++i);
    r.size_bytes = s.column_uint(++i);
    r.file_count = s.column_uint(++i);
    r.incomplete = s.column_int(++i) != 0;
    r.force = s.column_int(++i) != 0;
    r.ref_time = s.column_text(++i);
    r.tags = s.column_text(++i);
    r.part_size = s.column_uint(++i);
    for (std::string* text : {&r.upload_id, &r.creating_at, &r.created_at, &r.last_error})
        *text = s.column_text(++i);
    return r;
}

std::string select_pushes(std::string_view tail) {
    return "SELECT id, " + std::string(kColumns) + " FROM push " + std::string(tail);
}

} // namespace

namespace {

/// What to do about a database that SQLite cannot read.
Db open_database(const std::string& path) {
    try {
        Db db(path);
        Stmt(db, "SELECT count(*) FROM sqlite_master").step();
        return db;
    } catch (Error& e) {
        if (e.kind() == ErrorKind::data)
            e.with_hint("nothing in the store is affected; move " + path +
                        "* away and run again; a *.spool file in the spool directory can be "
                        "pushed anew with zl-push < FILE (a cut one is refused)");
        throw;
    }
}

} // namespace

StateDb::StateDb(const std::string& path) : db_(open_database(path)) {
    Txn txn(db_);
    int version = 0;
    {
        Stmt s(db_, "PRAGMA user_version");
        s.step();
        version = static_cast<int>(s.column_int(0));
    }
    if (version > kSchema)
        throw Error(ErrorKind::data,
                    "state database " + path + ": written by a newer zl (schema " +
                        std::to_string(version) + ", this one knows " + std::to_string(kSchema) +
                        ")",
                    "use the newer zl, or another --state-dir");
    if (version == 0)
        db_.exec(kCreate);
    txn.commit();
}

std::int64_t StateDb::insert_push(const PushRow& row) {
    std::lock_guard lock(mutex_);
    Stmt s(db_, "INSERT INTO push (" + std::string(kColumns) +
                    ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
    bind_row(s, row);
    s.run();
    return db_.last_insert_rowid();
}

void StateDb::update_push(const PushRow& row) {
    std::lock_guard lock(mutex_);
    write_push(row);
}

void StateDb::write_push(const PushRow& row) {
    Stmt s(db_, "UPDATE push SET (" + std::string(kColumns) +
                    ") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ?");
    bind_row(s, row);
    s.bind(kColumnCount + 1, row.id).run();
    if (db_.changes() != 1)
        throw Error(ErrorKind::internal,
                    "push " + std::to_string(row.id) + " vanished from the state");
}

std::optional<PushRow> StateDb::find_push(std::int64_t id) {
    std::lock_guard lock(mutex_);
    Stmt s(db_, select_pushes("WHERE id = ?"));
    s.bind(1, id);
    return s.step() ? std::optional(read_row(s)) : std::nullopt;
}

std::vector<PushRow> StateDb::pushes() {
    std::lock_guard lock(mutex_);
    Stmt s(db_, select_pushes("ORDER BY id"));
    std::vector<PushRow> out;
    while (s.step())
        out.push_back(read_row(s));
    return out;
}

void StateDb::delete_push(std::int64_t id) {
    std::lock_guard lock(mutex_);
    Stmt(db_, "DELETE FROM push WHERE id = ?").bind(1, id).run();
}

void StateDb::move_upload(PushRow& from, PushRow& to) {
    std::lock_guard lock(mutex_);
    Txn txn(db_);
    Stmt(db_, "UPDATE push_part SET push_id = ? WHERE push_id = ?")
        .bind(1, to.id)
        .bind(2, from.id)
        .run();
    PushRow giver = from, taker = to;
    taker.state = from.state;
    taker.upload_id = from.upload_id;
    taker.part_size = from.part_size;
    giver.state = "spooled";
    giver.upload_id.clear();
    write_push(giver);
    write_push(taker);
    txn.commit();
    from = giver;
    to = taker;
}

void StateDb::record_part(std::int64_t push_id, const PartRow& p) {
    std::lock_guard lock(mutex_);
    Stmt(db_, "INSERT OR REPLACE INTO push_part (push_id, number, size, etag) VALUES (?,?,?,?)")
        .bind(1, push_id)
        .bind(2, p.number)
        .bind(3, p.size)
        .bind(4, p.etag)
        .run();
}

std::map<int, PartRow> StateDb::parts(std::int64_t push_id) {
    std::lock_guard lock(mutex_);
    Stmt s(db_, "SELECT number, size, etag FROM push_part WHERE push_id = ?");
    s.bind(1, push_id);
    std::map<int, PartRow> out;
    while (s.step()) {
        int number = static_cast<int>(s.column_int(0));
        out[number] = {number, s.column_uint(1), s.column_text(2)};
    }
    return out;
}

void StateDb::delete_parts(std::int64_t push_id) {
    std::lock_guard lock(mutex_);
    Stmt(db_, "DELETE FROM push_part WHERE push_id = ?").bind(1, push_id).run();
}

void StateDb::add_suspect(const SuspectRow& r) {
    std::lock_guard lock(mutex_);
    Stmt(db_, "INSERT OR IGNORE INTO suspect (store, key, upload_id) VALUES (?,?,?)")
        .bind(1, r.store)
        .bind(2, r.key)
        .bind(3, r.upload_id)
        .run();
}

std::vector<SuspectRow> StateDb::suspects(const std::string& store) {
    std::lock_guard lock(mutex_);
    Stmt s(db_, "SELECT key, upload_id FROM suspect WHERE store = ?");
    s.bind(1, store);
    std::vector<SuspectRow> out;
    while (s.step())
        out.push_back({store, s.column_text(0), s.column_text(1)});
    return out;
}

void StateDb::delete_suspect(const SuspectRow& r) {
    std::lock_guard lock(mutex_);
    Stmt(db_, "DELETE FROM suspect WHERE store = ? AND key = ? AND upload_id = ?")
        .bind(1, r.store)
        .bind(2, r.key)
        .bind(3, r.upload_id)
        .run();
}

std::optional<std::string> StateDb::fact(const std::string& store, const std::string& name) {
    std::lock_guard lock(mutex_);
    Stmt s(db_, "SELECT value FROM fact WHERE store = ? AND name = ?");
    s.bind(1, store).bind(2, name);
    return s.step() ? std::optional(s.column_text(0)) : std::nullopt;
}

void StateDb::set_fact(const std::string& store, const std::string& name,
                       const std::string& value) {
    std::lock_guard lock(mutex_);
    Stmt(db_, "INSERT OR REPLACE INTO fact (store, name, value) VALUES (?,?,?)")
        .bind(1, store)
        .bind(2, name)
        .bind(3, value)
        .run();
}

void StateDb::delete_fact(const std::string& store, const std::string& name) {
    std::lock_guard lock(mutex_);
    Stmt(db_, "DELETE FROM fact WHERE store = ? AND name = ?").bind(1, store).bind(2, name).run();
}

std::map<std::string, std::string> StateDb::facts(const std::string& name) {
    std::lock_guard lock(mutex_);
    Stmt s(db_, "SELECT store, value FROM fact WHERE name = ?");
    s.bind(1, name);
    std::map<std::string, std::string> out;
    while (s.step())
        out[s.column_text(0)] = s.column_text(1);
    return out;
}

} // namespace zl
