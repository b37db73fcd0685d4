#include "base/crash_point.hpp"
#include "wal/ship_locked.hpp"
#include "wal/ship_open.hpp"
#include "wal/ship_rows.hpp"

#include <unistd.h>

#include <algorithm>

namespace zl {

using namespace ship_open;
using namespace ship_rows;

std::optional<QueuedSegment> ShipState::oldest() {
    return locked([&] { return select_segment(db_, "queue", "ORDER BY sequence LIMIT 1"); });
}

std::optional<QueuedSegment> ShipState::queued(std::uint64_t sequence) {
    return locked([&] { return select_segment(db_, "queue", "WHERE sequence = ?", sequence); });
}

ShipState::QueueSize ShipState::queue_size() {
    auto first = oldest();
    return locked([&] {
        QueueSize size = queued_;
        if (first)
            size.oldest_time = first->time;
        return size;
    });
}

std::optional<QueuedSegment> ShipState::begin_sending(std::uint64_t up_to) {
    return locked([&] {
        auto next = select_segment(db_, "queue", "ORDER BY sequence LIMIT 1");
        if (next && next->sequence > up_to)
            next.reset();
        if (next)
            sending_ = next->sequence;
        return next;
    });
}

void ShipState::mark_attempted(std::uint64_t sequence) {
    locked([&] {
        Stmt(db_, "UPDATE queue SET attempted = 1 WHERE sequence = ? AND attempted = 0")
            .bind(1, sequence)
            .run();
    });
}

void ShipState::acknowledge(std::uint64_t sequence, const std::string& key) {
    locked([&] {
        Txn txn(db_);
        auto first = select_segment(db_, "queue", "ORDER BY sequence LIMIT 1");
        if (!first || first->sequence != sequence)
            throw Error(ErrorKind::internal, "segment " + std::to_string(sequence) +
                                                 " acknowledged, but is not the oldest");
        db_.exec("DELETE FROM acknowledged");
        insert_segment(db_, "acknowledged", *first);
        Stmt(db_, "DELETE FROM queue WHERE sequence = ?").bind(1, sequence).run();
        const CatalogueEntry entry{CatalogueEntry::Kind::segment,
                                   key,
                                   first->generation,
                                   {sequence, sequence},
                                   first->time,
                                   first->size,
                                   0};
        insert_entries(db_, {&entry, 1});
        txn.commit();
        --queued_.segments;
        queued_.bytes -= first->size;
    });
    crash_point("ship.acknowledged");
    ::unlink(queued_path(sequence).c_str()); // if it stays, the next opening removes it
}

QueuedSegment ShipState::acknowledged() {
    return locked(
        [&] { return select_segment(db_, "acknowledged", "").value_or(QueuedSegment{}); });
}

void ShipState::adopt(const QueuedSegment& acknowledged) {
    locked([&] {
        if (select_segment(db_, "queue", "LIMIT 1"))
            throw Error(ErrorKind::internal, "adopt: segments are queued");
        Txn txn(db_);
        db_.exec("DELETE FROM acknowledged; DELETE FROM position;");
        insert_segment(db_, "acknowledged", acknowledged);
        txn.commit();
    });
}

void ShipState::drop_from(std::uint64_t from) {
    put_.clear();
    drop_rows_from(from);
    for (const std::string& name : names_in(directory_))
        if (auto sequence = parse_segment_file(name); sequence && *sequence >= from)
            remove_file(directory_ + "/" + name);
    Stmt left(db_, "SELECT count(*), coalesce(sum(size), 0) FROM queue");
    left.step();
    queued_ = {left.column_uint(0), left.column_uint(1), std::nullopt};
}

void ShipState::drop_queue() {
    locked([&] {
        drop_from(0);
        sending_ = 0;
    });
}

void ShipState::drop_unsent(std::uint64_t from) {
    locked([&] {
        const auto sent =
            select_segment(db_, "queue", "WHERE attempted ORDER BY sequence DESC LIMIT 1");
        drop_from(std::max({from, sent ? sent->sequence + 1 : 0, sending_ + 1}));
    });
}

// -------------------------------------------------------------------------------------- catalogue

void ShipState::add_entry(const CatalogueEntry& entry) {
    locked([&] { insert_entries(db_, {&entry, 1}); });
}

void ShipState::remove_entry(const std::string& key) {
    locked([&] { Stmt(db_, "DELETE FROM catalogue WHERE key = ?").bind(1, key).run(); });
}

void ShipState::add_entries(const std::vector<CatalogueEntry>& entries) {
    locked([&] {
        Txn txn(db_);
        insert_entries(db_, entries);
        txn.commit();
    });
}

void ShipState::remove_entries(const std::vector<std::string>& keys) {
    locked([&] {
        Txn txn(db_);
        Stmt gone(db_, "DELETE FROM catalogue WHERE key = ?");
        for (const std::string& key : keys)
            gone.bind(1, key).run();
        txn.commit();
    });
}

std::vector<CatalogueEntry> ShipState::entries(CatalogueEntry::Kind kind) {
    std::vector<CatalogueEntry> all;
    visit_entries(kind, [&](const CatalogueEntry& e) { all.push_back(e); });
    return all;
}

void ShipState::visit_entries(CatalogueEntry::Kind kind,
                              const std::function<void(const CatalogueEntry&)>& visit) {
    locked([&] { ship_rows::visit_entries(db_, kind, visit); });
}

void ShipState::begin_upload(const std::string& key, const std::string& upload_id) {
    locked([&] {
        Stmt(db_, "INSERT OR REPLACE INTO upload (upload_id, key) VALUES (?,?)")
            .bind(1, upload_id)
            .bind(2, key)
            .run();
    });
}

void ShipState::end_upload(const std::string& upload_id) {
    locked([&] { Stmt(db_, "DELETE FROM upload WHERE upload_id = ?").bind(1, upload_id).run(); });
}

std::vector<std::pair<std::string, std::string>> ShipState::open_uploads() {
    return locked([&] {
        std::vector<std::pair<std::string, std::string>> out;
        Stmt s(db_, "SELECT key, upload_id FROM upload ORDER BY key, upload_id");
        while (s.step())
            out.emplace_back(s.column_text(0), s.column_text(1));
        return out;
    });
}

} // namespace zl
