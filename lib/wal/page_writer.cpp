#include "wal/page_writer.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "wal/wal_format.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

namespace zl {

namespace {

bool all_zero(Bytes data) {
    return data[0] == std::byte{0} &&
           std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

} // namespace

PageSet::PageSet(std::uint32_t page_count) : blocks_(page_count / kBlockPages + 1) {}

bool PageSet::insert(std::uint32_t page) {
    auto& block = blocks_[page / kBlockPages];
    if (!block)
        block = std::make_unique<Block>();
    std::uint64_t& word = (*block)[page % kBlockPages / 64];
    const std::uint64_t bit = std::uint64_t{1} << (page % 64);
    if (word & bit)
        return false;
    word |= bit;
    ++size_;
    return true;
}

bool PageSet::contains(std::uint32_t page) const {
    const auto& block = blocks_[page / kBlockPages];
    return block && (*block)[page % kBlockPages / 64] >> (page % 64) & 1;
}

PageWriter::PageWriter(int fd, std::string name, std::uint32_t page_size, std::uint32_t page_count)
    : fd_(fd), name_(std::move(name)), page_size_(page_size), page_count_(page_count),
      from_segments_(page_count) {
    const std::uint64_t size = std::uint64_t{page_size} * page_count;
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0)
        throw sys_error("set size of " + name_ + " to " + std::to_string(size))
            .with_kind(ErrorKind::io);
}

bool PageWriter::wanted(std::uint32_t page) const {
    return page >= 1 && page <= page_count_ && page != lock_page(page_size_) &&
           !from_segments_.contains(page);
}

void PageWriter::write(std::uint32_t first, Bytes data) {
    DbChecksum sum = 0;
    std::uint32_t page = first;
    std::size_t run = 0; // where what has to be written begins
    auto flush = [&](std::size_t end) {
        if (end > run)
            pwrite_full(fd_, data.subspan(run, end - run),
                        (std::uint64_t{first} - 1) * page_size_ + run, name_);
        run = end;
    };
    for (std::size_t at = 0; at < data.size(); at += page_size_, ++page) {
        const Bytes one = data.subspan(at, page_size_);
        sum += page_hash(page, one);
        if (all_zero(one)) { // as the file is there already: leave the hole
            flush(at);
            run = at + page_size_;
        }
    }
    flush(data.size());
    sum_ += sum;
    written_ += data.size() / page_size_;
}

void PageWriter::segment_page(std::uint32_t page, Bytes data) {
    if (!wanted(page))
        return;
    from_segments_.insert(page);
    write(page, data);
}

bool PageWriter::needs(std::uint32_t first, std::uint32_t count) const {
    for (std::uint32_t i = 0; i < count; ++i)
        if (wanted(first + i))
            return true;
    return false;
}

void PageWriter::snapshot_pages(std::uint32_t first, Bytes data) {
    const auto count = static_cast<std::uint32_t>(data.size() / page_size_);
    for (std::uint32_t i = 0; i < count;) {
        if (!wanted(first + i)) {
            ++i;
            continue;
        }
        std::uint32_t end = i + 1;
        while (end < count && wanted(first + end))
            ++end;
        write(first + i,
              data.subspan(std::size_t{i} * page_size_, std::size_t{end - i} * page_size_));
        i = end;
    }
}

void PageWriter::start_writeback(std::uint32_t first, std::uint64_t count) const {
    ::sync_file_range(fd_, static_cast<off64_t>(std::uint64_t{first - 1} * page_size_),
                      static_cast<off64_t>(count * page_size_), SYNC_FILE_RANGE_WRITE);
}

DbChecksum PageWriter::finish(std::uint32_t snapshot_pages, std::stop_token stop) {
    const std::uint64_t all = page_count_ - (page_count_ >= lock_page(page_size_) ? 1u : 0u);
    std::uint64_t missing = all - written_;
    DbChecksum sum = sum_;
    const std::vector<std::byte> zeros(page_size_);
    for (std::uint64_t page = std::uint64_t{snapshot_pages} + 1; page <= page_count_; ++page) {
        const auto number = static_cast<std::uint32_t>(page);
        if (!wanted(number))
            continue;
        if (stop.stop_requested()) // a store may promise terabytes of them
            throw Interrupted();
        sum += page_hash(number, zeros);
        --missing;
    }
    if (missing)
        throw Error(ErrorKind::data, std::to_string(missing) + " of " + std::to_string(all) +
                                         " pages are in no object");
    return sum;
}

} // namespace zl
