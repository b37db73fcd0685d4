#include "wal/ship_state.hpp"

#include "base/crash_point.hpp"
#include "base/file.hpp"
#include "wal/hash_blocks.hpp"
#include "wal/ship_locked.hpp"
#include "wal/ship_open.hpp"
#include "wal/ship_rows.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>

namespace zl {

using namespace ship_open;
using namespace ship_rows;

namespace {

/// Page hashes put before they are written in one transaction (1 MiB of memory).
constexpr std::size_t kPutTogether = 65536;

void forget_hashes(Db& db) {
    db.exec("DELETE FROM position");
    hash_blocks::clear(db);
}

} // namespace

ShipState::ShipState(std::string directory, Access access)
    : directory_(std::move(directory)), db_(open_database(directory_, access)) {
    locked([&] {
        read_writer();
        if (access == Access::ship) { // else it may change between two looks
            check_consistent();
            settle_files();
        }
        Stmt s(db_, "SELECT count(*), coalesce(sum(size), 0) FROM queue");
        s.step();
        queued_ = {s.column_uint(0), s.column_uint(1), std::nullopt};
    });
}

void ShipState::read_writer() {
    Stmt self(db_, "SELECT writer FROM self");
    if (!self.step() || self.column_text(0).size() != 16)
        throw Error(ErrorKind::data, "state database: no writer id");
    writer_ = self.column_text(0);
}

void ShipState::check_consistent() {
    auto last = newest_locked();
    auto at = select_position(db_);
    if (at && at->sequence != last.sequence)
        throw Error(ErrorKind::data, "position at segment " + std::to_string(at->sequence) +
                                         ", but the last one is " + std::to_string(last.sequence));
    Stmt s(db_, "SELECT count(*), coalesce(max(sequence), 0) - coalesce(min(sequence), 1) + 1"
                " FROM queue");
    s.step();
    if (s.column_int(0) != s.column_int(1))
        throw Error(ErrorKind::data, "the queue has holes");
}

void ShipState::settle_files() {
    std::set<std::uint64_t> whole;
    std::optional<std::uint64_t> lost;
    {
        Stmt s(db_, "SELECT sequence, size FROM queue ORDER BY sequence");
        while (!lost && s.step()) {
            std::uint64_t sequence = s.column_uint(0);
            struct stat st {};
            if (::stat(queued_path(sequence).c_str(), &st) != 0 && errno != ENOENT)
                throw sys_error("stat " + queued_path(sequence)); // unknown is not missing
            if (S_ISREG(st.st_mode) && static_cast<std::uint64_t>(st.st_size) == s.column_uint(1))
                whole.insert(sequence);
            else
                lost = sequence;
        }
    }
    if (lost) {
        // What was cut off is in the database still, but in no order that could be proved.
        drop_rows_from(*lost);
        broken_ = true;
    }
    for (const std::string& name : names_in(directory_))
        if (auto sequence = parse_segment_file(name); sequence && !whole.contains(*sequence))
            remove_file(directory_ + "/" + name);
}

void ShipState::drop_rows_from(std::uint64_t sequence) {
    Txn txn(db_);
    Stmt(db_, "DELETE FROM queue WHERE sequence >= ?").bind(1, sequence).run();
    forget_hashes(db_);
    txn.commit();
}

std::optional<std::string> ShipState::note(const std::string& name) {
    return locked([&]() -> std::optional<std::string> {
        Stmt s(db_, "SELECT value FROM note WHERE name = ?");
        s.bind(1, name);
        if (!s.step() || s.column_text(0).empty())
            return std::nullopt;
        return s.column_text(0);
    });
}

void ShipState::set_note(const std::string& name, const std::string& value) {
    locked([&] {
        Stmt(db_, "INSERT OR REPLACE INTO note (name, value) VALUES (?,?)")
            .bind(1, name)
            .bind(2, value)
            .run();
    });
}

void ShipState::clear_note(const std::string& name) {
    locked([&] { Stmt(db_, "DELETE FROM note WHERE name = ?").bind(1, name).run(); });
}

std::optional<ShipPosition> ShipState::position() {
    return locked([&] { return select_position(db_); });
}

void ShipState::forget_position() {
    locked([&] {
        put_.clear();
        Txn txn(db_);
        forget_hashes(db_);
        txn.commit();
    });
}

void ShipState::move_wal(const std::optional<WalPosition>& wal) {
    locked([&] {
        auto at = select_position(db_);
        if (!at)
            throw Error(ErrorKind::internal, "no position to move");
        at->wal = wal;
        replace_position(db_, *at);
    });
}

void ShipState::set_position(const ShipPosition& position) {
    locked([&] {
        auto last = newest_locked();
        if (position.sequence != last.sequence || position.id != last.id)
            throw Error(ErrorKind::internal,
                        "position at segment " + std::to_string(position.sequence) +
                            ", but the last one is " + std::to_string(last.sequence));
        write_put();
        replace_position(db_, position);
    });
}

std::string ShipState::queued_path(std::uint64_t sequence) const {
    return directory_ + "/" + segment_file_name(sequence);
}

std::string ShipState::temp_path(std::uint64_t sequence) const {
    return queued_path(sequence) + ".tmp";
}

/// @p fd has its final name, durably, when this returns.
void ShipState::publish_file(int fd, const QueuedSegment& segment) {
    std::string temp = temp_path(segment.sequence), path = queued_path(segment.sequence);
    struct stat st {};
    if (::fstat(fd, &st) != 0)
        throw sys_error("stat " + temp);
    if (static_cast<std::uint64_t>(st.st_size) != segment.size)
        throw Error(ErrorKind::internal, temp + ": " + std::to_string(st.st_size) +
                                             " bytes, expected " + std::to_string(segment.size));
    if (::fsync(fd) != 0)
        throw sys_error("fsync " + temp);
    if (::rename(temp.c_str(), path.c_str()) != 0)
        throw sys_error("rename " + temp + " to " + path);
    fsync_dir(directory_);
}

void ShipState::commit_segment(int fd, const QueuedSegment& segment, const ShipPosition& to,
                               const std::vector<PageHash>& changed) {
    auto last = newest();
    if (segment.sequence != last.sequence + 1 || to.sequence != segment.sequence ||
        to.id != segment.id)
        throw Error(ErrorKind::internal, "segment " + std::to_string(segment.sequence) +
                                             " for position " + std::to_string(to.sequence) +
                                             " after " + std::to_string(last.sequence));
    try {
        publish_file(fd, segment); // outside the lock: the uploader does not wait for our disk
        crash_point("ship.segment-file");
        locked([&] {
            write_put();
            Txn txn(db_);
            auto from = select_position(db_);
            insert_segment(db_, "queue", segment);
            hash_blocks::write(db_, changed);
            if (!from || to.page_count < from->page_count)
                hash_blocks::drop_beyond(db_, to.page_count);
            replace_position(db_, to);
            txn.commit();
            ++queued_.segments;
            queued_.bytes += segment.size;
        });
    } catch (...) {
        // Its pages are still in the WAL; on a full disk the room is needed.
        ::unlink(temp_path(segment.sequence).c_str());
        ::unlink(queued_path(segment.sequence).c_str());
        throw;
    }
    crash_point("ship.captured");
}

std::vector<std::uint64_t> ShipState::hashes(std::uint32_t first, std::size_t count) {
    return locked([&] {
        write_put();
        return hash_blocks::run(db_, first, count);
    });
}

std::vector<std::uint64_t> ShipState::hashes_of(const std::vector<std::uint32_t>& pages) {
    return locked([&] {
        write_put();
        return hash_blocks::of_pages(db_, pages);
    });
}

std::uint32_t ShipState::hashed_pages() {
    return locked([&] {
        write_put();
        return hash_blocks::count(db_);
    });
}

void ShipState::begin_rehash() {
    forget_position();
}

void ShipState::put_hashes(std::uint32_t first, const std::vector<std::uint64_t>& hashes) {
    locked([&] {
        if (select_position(db_))
            throw Error(ErrorKind::internal, "page hashes put beside a position");
        for (std::size_t i = 0; i < hashes.size(); ++i)
            put_.emplace_back(first + static_cast<std::uint32_t>(i), hashes[i]);
        if (put_.size() >= kPutTogether)
            write_put();
    });
}

void ShipState::write_put() {
    if (put_.empty())
        return;
    Txn txn(db_);
    hash_blocks::write(db_, put_);
    txn.commit();
    put_.clear();
}

QueuedSegment ShipState::newest_locked() {
    if (auto last = select_segment(db_, "queue", "ORDER BY sequence DESC LIMIT 1"))
        return *last;
    return select_segment(db_, "acknowledged", "").value_or(QueuedSegment{});
}

QueuedSegment ShipState::newest() {
    return locked([&] { return newest_locked(); });
}

} // namespace zl
