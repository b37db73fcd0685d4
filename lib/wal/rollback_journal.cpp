#include "wal/rollback_journal.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <random>

namespace zl {

namespace {

constexpr std::size_t kSector = 512; ///< the header takes one
constexpr std::size_t kBuffer = 1 << 20;
constexpr std::array<unsigned char, 8> kMagic{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};

void append_be32(std::vector<std::byte>& out, std::uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8)
        out.push_back(static_cast<std::byte>(v >> shift));
}

void sync(int fd, const std::string& path) {
    if (::fsync(fd) != 0)
        throw sys_error("fsync " + path).with_kind(ErrorKind::io);
}

} // namespace

RollbackJournal::RollbackJournal(std::string path, std::uint32_t page_size,
                                 std::uint32_t page_count)
    : path_(std::move(path)), page_size_(page_size), page_count_(page_count),
      nonce_(std::random_device()()), fd_(open_file(path_, O_RDWR | O_CREAT | O_TRUNC, 0644)) {
    for (unsigned char c : kMagic)
        buffer_.push_back(static_cast<std::byte>(c));
    append_be32(buffer_, 0); // the count: no record is valid yet
    append_be32(buffer_, nonce_);
    append_be32(buffer_, page_count_);
    append_be32(buffer_, kSector);
    append_be32(buffer_, page_size_);
    buffer_.resize(kSector);
}

RollbackJournal::~RollbackJournal() {
    if (!valid_)
        ::unlink(path_.c_str());
}

void RollbackJournal::flush() {
    write_full(fd_.get(), buffer_, path_);
    buffer_.clear();
}

void RollbackJournal::record(std::uint32_t page, Bytes content) {
    std::uint32_t sum = nonce_;
    for (std::size_t at = page_size_ - 200; at > 0 && at < page_size_; at -= 200)
        sum += std::to_integer<std::uint32_t>(content[at]);
    append_be32(buffer_, page);
    buffer_.insert(buffer_.end(), content.begin(), content.end());
    append_be32(buffer_, sum);
    ++records_;
    if (buffer_.size() >= kBuffer)
        flush();
}

void RollbackJournal::commit_records() {
    flush();
    sync(fd_.get(), path_);
    std::vector<std::byte> count;
    append_be32(count, records_);
    pwrite_full(fd_.get(), count, kMagic.size(), path_);
    sync(fd_.get(), path_);
    fsync_dir(dir_name(path_));
    valid_ = true;
}

void RollbackJournal::remove() {
    if (::unlink(path_.c_str()) != 0)
        throw sys_error("remove " + path_).with_kind(ErrorKind::io);
    fsync_dir(dir_name(path_));
}

} // namespace zl
