/// A live database at one moment: the file, with the newer pages of the WAL laid over it.
#pragma once

#include "wal/snapshot.hpp"
#include "wal/wal_reader.hpp"

#include <atomic>

namespace zl {

/// Consistent as long as the read lock is held and we checkpoint nothing: a page that is not among
/// the WAL's frames 1 .. N cannot change in the file, because others may only move back frames that
/// our lock has passed, and those are all among 1 .. N (W3; tests/unit/wal "a view stays").
class PageView final : public PageSource {
public:
    /// @p overlay: last versions of the pages in the WAL, ascending; empty when all of the WAL is
    /// in the file. @p cancel: read() throws transient once it is true.
    PageView(const LiveDb& db, std::uint32_t page_count, std::vector<WalBatch::Place> overlay,
             const std::atomic<bool>* cancel = nullptr);
    std::uint32_t page_size() const override { return page_size_; }
    std::uint32_t page_count() const override { return page_count_; }
    void read(std::uint32_t first, std::span<std::byte> out) override;

private:
    int db_fd_;
    WalReader wal_;
    std::string name_;
    std::uint32_t page_size_, page_count_;
    std::vector<WalBatch::Place> overlay_;
    const std::atomic<bool>* cancel_;
};

/// Pages of the file as it is, when the WAL says nothing (it is empty).
std::uint32_t file_page_count(const LiveDb& db);

} // namespace zl
