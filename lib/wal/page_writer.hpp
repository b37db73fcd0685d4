/// The file that a restore writes: each page once, the newest version first, summed on the way.
#pragma once

#include "stream/stream.hpp"
#include "wal/page_hash.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

/// A set of page numbers; memory grows with the members, not with the largest.
class PageSet {
public:
    explicit PageSet(std::uint32_t page_count);
    /// false: it was there already.
    bool insert(std::uint32_t page);
    bool contains(std::uint32_t page) const;
    std::uint64_t size() const { return size_; }

private:
    static constexpr std::uint32_t kBlockPages = 1 << 16;
    using Block = std::array<std::uint64_t, kBlockPages / 64>;
    std::vector<std::unique_ptr<Block>> blocks_;
    std::uint64_t size_ = 0;
};

class PageWriter {
public:
    /// @p fd: an empty file that the caller keeps open; it is given its final size at once.
    PageWriter(int fd, std::string name, std::uint32_t page_size, std::uint32_t page_count);

    std::uint32_t page_size() const { return page_size_; }
    std::uint32_t page_count() const { return page_count_; }

    // ---- first the segments, newest first, by one thread ----
    /// Written unless a newer version is there, or the database became shorter than that.
    void segment_page(std::uint32_t page, Bytes data);

    // ---- then the snapshot, by any number of threads; no page may come twice ----
    /// Whether some page of first .. first + count - 1 is still to be written.
    bool needs(std::uint32_t first, std::uint32_t count) const;
    /// Consecutive pages from @p first on; those that are not needed are skipped.
    void snapshot_pages(std::uint32_t first, Bytes data);
    /// The disk begins with pages first .. first + count - 1 instead of waiting for the fsync: a
    /// hint, that promises nothing.
    void start_writeback(std::uint32_t first, std::uint64_t count) const;

    /// The sum of all pages. @p snapshot_pages: the snapshot had so many; a page beyond that in no
    /// segment counts as zeros, which is what it reads as. Equal to the source's sum or the restore
    /// is wrong. Throws data when a page of the snapshot did not come.
    DbChecksum finish(std::uint32_t snapshot_pages, std::stop_token stop = {});
    /// Pages taken, each once. Those of zeros are left as holes.
    std::uint64_t pages_written() const { return written_; }

private:
    bool wanted(std::uint32_t page) const;
    void write(std::uint32_t first, Bytes data);

    int fd_;
    std::string name_;
    std::uint32_t page_size_, page_count_;
    PageSet from_segments_;
    std::atomic<DbChecksum> sum_ = 0;
    std::atomic<std::uint64_t> written_ = 0;
};

} // namespace zl
