/// Of Capture: what makes a segment and takes the position to its end.
#include "base/file.hpp"
#include "wal/capture.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace zl {

namespace {

/// A segment under way: gone unless it was committed. On a full disk its bytes are needed.
struct TemporarySegment {
    std::string path;
    UniqueFd fd;
    explicit TemporarySegment(std::string name)
        : path(std::move(name)), fd(open_file(path, O_RDWR | O_CREAT | O_TRUNC)) {}
    ~TemporarySegment() { ::unlink(path.c_str()); }
};

std::vector<std::uint32_t> numbers(const std::vector<WalBatch::Place>& places) {
    std::vector<std::uint32_t> pages;
    pages.reserve(places.size());
    for (const auto& [page, frame] : places)
        pages.push_back(page);
    return pages;
}

} // namespace

/// Pages that came into being but are in no frame: SQLite reads them from the file (or as zeros).
std::vector<std::uint32_t> Capture::unwritten(const WalBatch& batch) const {
    std::vector<std::uint32_t> missing;
    const std::uint32_t lock = lock_page(db_->page_size());
    auto it = batch.pages.begin();
    for (std::uint64_t p = std::min(position_->page_count, batch.least_count) + std::uint64_t{1};
         p <= batch.page_count; ++p) {
        const auto page = static_cast<std::uint32_t>(p);
        it = std::lower_bound(it, batch.pages.end(), WalBatch::Place{page, 0});
        if (page != lock && (it == batch.pages.end() || it->first != page))
            missing.push_back(page);
    }
    return missing;
}

void Capture::take(const WalBatch& batch, PageSource& pages, std::uint64_t frames) {
    SegmentHeader header = next_header();
    header.page_count = batch.page_count;
    std::vector<std::uint32_t> list = numbers(batch.pages);
    const std::vector<std::uint32_t> missing = unwritten(batch);
    if (missing.empty()) {
        write_segment(header, list, pages, batch.end);
    } else {
        WalIndex index;
        index.salt = batch.end.salt;
        index.max_frame = static_cast<std::uint32_t>(batch.end.frame);
        index.checksum = batch.end.checksum;
        index.page_count = batch.page_count;
        index.big_endian = wal_.header().value_or(WalHeader{}).big_endian;
        PageView view(*db_, batch.page_count, overlay(index));
        list.insert(list.end(), missing.begin(), missing.end());
        std::sort(list.begin(), list.end());
        write_segment(header, list, view, batch.end);
    }
    since_checkpoint_ += frames;
}

SegmentHeader Capture::next_header() {
    SegmentHeader h;
    h.db_id = identity_.db_id;
    h.generation = identity_.generation;
    h.writer = identity_.writer;
    h.host = identity_.host;
    h.page_size = db_->page_size();
    if (position_) {
        h.sequence = h.first_sequence = position_->sequence + 1;
        h.prev = position_->id;
        h.time = h.first_time = clock_.after(position_->time);
        h.checksum_before = position_->checksum;
    }
    return h;
}

/// Writes @p list (ascending) and takes the position to the state that it makes.
void Capture::write_segment(SegmentHeader& header, const std::vector<std::uint32_t>& list,
                            PageSource& pages, const WalPosition& end) {
    TemporarySegment file(state_.temp_path(header.sequence));
    SegmentWriter writer(file.fd.get(), file.path, header.page_size, header.sequence, level_);
    std::vector<std::byte> page(header.page_size);
    std::vector<PageHash> hashes;
    hashes.reserve(list.size());
    DbChecksum sum = header.checksum_before;
    for (std::uint32_t number : list) {
        pages.read(number, page);
        writer.page(number, page);
        hashes.emplace_back(number, page_hash(number, page));
        sum += hashes.back().second;
    }
    for (std::uint64_t old : state_.hashes_of(list))
        sum -= old; // 0 for pages that are new
    const std::uint32_t before = position_ ? position_->page_count : 0;
    constexpr std::uint32_t kRun = 4096;
    for (std::uint64_t p = header.page_count + std::uint64_t{1}; p <= before; p += kRun) {
        const auto n = std::min<std::uint64_t>(kRun, before - p + 1);
        for (std::uint64_t dropped : state_.hashes(static_cast<std::uint32_t>(p), n))
            sum -= dropped;
    }
    header.checksum_after = sum;
    const std::uint64_t size = writer.finish(header);
    commit(header, file.fd.get(), size, end, hashes);
}

void Capture::commit(const SegmentHeader& header, int fd, std::uint64_t size,
                     const WalPosition& end, const std::vector<PageHash>& hashes) {
    QueuedSegment queued;
    queued.sequence = header.sequence;
    queued.id = header.id();
    queued.generation = header.generation;
    queued.kind = header.kind;
    queued.time = header.time;
    queued.size = size;
    queued.frames = header.frames;
    ShipPosition to;
    to.generation = header.generation;
    to.sequence = header.sequence;
    to.id = queued.id;
    to.time = header.time;
    to.page_size = header.page_size;
    to.page_count = header.page_count;
    to.checksum = header.checksum_after;
    to.wal = end;
    to.device = db_->device();
    to.inode = db_->inode();
    state_.commit_segment(fd, queued, to, hashes);
    position_ = to;
}

void Capture::begin_generation(const Fork& fork) {
    SegmentHeader header = next_header();
    header.kind = SegmentKind::claim;
    header.sequence = header.first_sequence = fork.claim_sequence;
    header.prev = fork.prev;
    header.time = header.first_time = clock_.after(fork.after);
    header.page_count = scanned_.page_count;
    header.parent = fork.parent;
    header.fork_sequence = fork.fork_sequence;
    header.resync = fork.reason;
    header.gap_from = fork.gap_from;
    header.checksum_before = header.checksum_after = scanned_.checksum;
    TemporarySegment file(state_.temp_path(header.sequence));
    SegmentWriter writer(file.fd.get(), file.path, header.page_size, header.sequence, level_);
    const std::uint64_t size = writer.finish(header);
    commit(header, file.fd.get(), size, scanned_.wal, {});
}

} // namespace zl
