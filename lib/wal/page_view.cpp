#include "wal/page_view.hpp"

#include "base/error.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace zl {

PageView::PageView(const LiveDb& db, std::uint32_t page_count, std::vector<WalBatch::Place> overlay,
                   const std::atomic<bool>* cancel)
    : db_fd_(db.db_fd()), wal_(db.wal_fd(), db.page_size(), db.path() + "-wal"), name_(db.path()),
      page_size_(db.page_size()), page_count_(page_count), overlay_(std::move(overlay)),
      cancel_(cancel) {}

void PageView::read(std::uint32_t first, std::span<std::byte> out) {
    if (cancel_ && cancel_->load())
        throw Error(ErrorKind::transient, "reading " + name_ + " was broken off");
    const std::size_t n = pread_full(db_fd_, out, (std::uint64_t{first} - 1) * page_size_, name_);
    // Beyond the end of the file are pages that exist only in the WAL.
    std::memset(out.data() + n, 0, out.size() - n);
    const std::uint64_t end = first + out.size() / page_size_;
    auto slot = [&](std::uint32_t page) {
        return out.subspan(std::size_t{page - first} * page_size_, page_size_);
    };
    auto it = std::lower_bound(overlay_.begin(), overlay_.end(), WalBatch::Place{first, 0});
    for (; it != overlay_.end() && it->first < end; ++it)
        wal_.page(it->second, slot(it->first));
    if (const std::uint32_t lock = lock_page(page_size_); lock >= first && lock < end)
        std::memset(slot(lock).data(), 0, page_size_);
}

std::uint32_t file_page_count(const LiveDb& db) {
    struct stat file {};
    if (::fstat(db.db_fd(), &file) != 0)
        throw sys_error(db.path());
    const auto size = static_cast<std::uint64_t>(file.st_size);
    return static_cast<std::uint32_t>((size + db.page_size() - 1) / db.page_size());
}

} // namespace zl
