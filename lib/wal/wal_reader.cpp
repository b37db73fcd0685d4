#include "wal/wal_reader.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <functional>

namespace zl {

namespace {

/// Frames are read in runs of about this many bytes.
constexpr std::size_t kReadSize = 256 << 10;

} // namespace

WalReader::WalReader(int fd, std::uint32_t page_size, std::string name)
    : fd_(fd), page_size_(page_size), name_(std::move(name)) {}

std::optional<WalHeader> WalReader::header() const {
    std::array<std::byte, kWalHeaderSize> bytes;
    if (pread_full(fd_, bytes, 0, name_) < bytes.size())
        return std::nullopt;
    auto header = parse_wal_header(bytes);
    if (header && header->page_size != page_size_)
        return std::nullopt;
    return header;
}

bool WalReader::walk(WalPosition& at, std::uint64_t last, bool big_endian,
                     const std::function<bool(std::uint32_t, const WalFrame&)>& each) const {
    const std::size_t frame_size = kWalFrameHeaderSize + page_size_;
    const std::size_t per_read = std::max<std::size_t>(1, kReadSize / frame_size);
    std::vector<std::byte> buffer(per_read * frame_size);
    while (at.frame < last) {
        const std::uint64_t n = std::min<std::uint64_t>(per_read, last - at.frame);
        const std::span<std::byte> run(buffer.data(), n * frame_size);
        if (pread_full(fd_, run, wal_frame_offset(at.frame + 1, page_size_), name_) < run.size())
            return false;
        for (std::size_t i = 0; i < n; ++i) {
            const Bytes bytes = run.subspan(i * frame_size, frame_size);
            const WalFrame frame = parse_wal_frame(bytes);
            WalChecksum sum = at.checksum;
            chain_frame(sum, bytes.first(kWalFrameHeaderSize), bytes.subspan(kWalFrameHeaderSize),
                        big_endian);
            if (frame.salt != at.salt || frame.checksum != sum || frame.page == 0)
                return false;
            at.checksum = sum;
            ++at.frame;
            if (!each(static_cast<std::uint32_t>(at.frame), frame))
                return true;
        }
    }
    return true;
}

bool WalReader::holds(const WalPosition& at) const {
    auto start = header();
    if (!start || start->salt != at.salt)
        return false;
    WalPosition now{start->salt, 0, start->checksum};
    return walk(now, at.frame, start->big_endian,
                [](std::uint32_t, const WalFrame&) { return true; }) &&
           now == at;
}

std::optional<WalBatch> WalReader::read(const WalPosition& from, const WalIndex& index,
                                        std::uint64_t limit_bytes) const {
    WalBatch batch;
    batch.least_count = UINT32_MAX;
    WalPosition at = from;
    std::vector<WalBatch::Place> uncommitted;
    const std::uint64_t limit = limit_bytes / (kWalFrameHeaderSize + page_size_);
    auto take = [&](std::uint32_t number, const WalFrame& frame) {
        uncommitted.emplace_back(frame.page, number);
        if (frame.commit == 0)
            return true;
        // A transaction that shrinks the database drops what lies beyond, of itself and of those
        // before it (a page may come back later, then with new content).
        const bool shrinks = frame.commit < batch.page_count;
        batch.page_count = frame.commit;
        batch.least_count = std::min(batch.least_count, frame.commit);
        auto beyond = [&](const WalBatch::Place& p) { return p.first > frame.commit; };
        std::erase_if(uncommitted, beyond);
        if (shrinks)
            std::erase_if(batch.pages, beyond);
        batch.pages.insert(batch.pages.end(), uncommitted.begin(), uncommitted.end());
        uncommitted.clear();
        batch.end = {from.salt, number, {}};
        return at.frame - from.frame < limit;
    };
    if (!walk(at, index.max_frame, index.big_endian, take))
        return std::nullopt;
    // The last frame that the index counts must be a commit, with the index's own checksum.
    if (at.frame == index.max_frame && at.checksum != index.checksum)
        return std::nullopt;
    if (batch.end.frame != at.frame)
        return std::nullopt;
    batch.end.checksum = at.checksum;
    keep_last_versions(batch.pages);
    return batch;
}

void WalReader::page(std::uint32_t frame, std::span<std::byte> out) const {
    const std::uint64_t offset = wal_frame_offset(frame, page_size_) + kWalFrameHeaderSize;
    if (pread_full(fd_, out, offset, name_) < out.size())
        throw Error(ErrorKind::io,
                    name_ + ": frame " + std::to_string(frame) + " is gone although it is locked");
}

void keep_last_versions(std::vector<WalBatch::Place>& places) {
    std::sort(places.begin(), places.end());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < places.size(); ++i)
        if (i + 1 == places.size() || places[i + 1].first != places[i].first)
            places[kept++] = places[i];
    places.resize(kept);
}

} // namespace zl
