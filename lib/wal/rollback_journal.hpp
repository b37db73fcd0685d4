/// A rollback journal as SQLite writes it, so that SQLite rolls back what we did not finish.
/// Source: https://sqlite.org/fileformat2.html section 3.
#pragma once

#include "base/file.hpp"
#include "stream/stream.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace zl {

/// The database must be under an EXCLUSIVE lock for as long as this file exists.
class RollbackJournal {
public:
    /// Makes @p path, invalid until commit_records(). @p page_count: of the database before.
    RollbackJournal(std::string path, std::uint32_t page_size, std::uint32_t page_count);
    /// Without commit_records() the file is removed; with it, it stays.
    ~RollbackJournal();
    RollbackJournal(const RollbackJournal&) = delete;
    RollbackJournal& operator=(const RollbackJournal&) = delete;

    /// The content of @p page before.
    void record(std::uint32_t page, Bytes content);
    /// Durable and valid: from here on the database may be changed.
    void commit_records();
    /// The change is complete: removed, durably.
    void remove();

private:
    void flush();
    std::string path_;
    std::uint32_t page_size_, page_count_, nonce_, records_ = 0;
    UniqueFd fd_;
    std::vector<std::byte> buffer_;
    bool valid_ = false;
};

} // namespace zl
