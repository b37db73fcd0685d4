/// Of Capture: what looks at all pages.
#include "base/error.hpp"
#include "wal/capture.hpp"

#include <algorithm>

namespace zl {

namespace {

/// Read at once when the whole database is looked at.
constexpr std::size_t kScanBytes = 4 << 20;
/// A difference of at most this is worth a segment whatever the size of the database.
constexpr std::uint64_t kSmallDelta = 4 << 20;
/// Note in the state: checksum of the database at our last complete checkpoint.
constexpr const char* kCheckpointed = "checkpointed";

} // namespace

/// Last versions of the pages in the WAL up to @p index; none when all of them are in the file
/// (then the WAL may be restarted at any time, and need not be read).
std::vector<WalBatch::Place> Capture::overlay(const WalIndex& index) {
    if (index.max_frame == 0 || index.backfilled >= index.max_frame)
        return {};
    auto start = start_of_wal(index);
    auto batch = start ? wal_.read(*start, index, UINT64_MAX) : std::nullopt;
    if (!batch)
        throw Error(ErrorKind::transient,
                    db_->path() + "-wal: frames do not match the wal-index just now");
    return std::move(batch->pages);
}

Capture::Scan Capture::scan_start() {
    auto index = stable_index();
    if (!index)
        throw Error(ErrorKind::transient, db_->path() + ": the wal-index does not settle");
    Scan scan;
    scan.page_count = index->max_frame > 0 ? index->page_count : file_page_count(*db_);
    scan.overlay = overlay(*index);
    scan.wal = {index->salt, index->max_frame, index->checksum};
    note_begin(*index);
    return scan;
}

void Capture::scan(Scan& scan, const ScanVisitor& visit) {
    PageView view(*db_, scan.page_count, scan.overlay);
    const std::uint32_t page_size = db_->page_size(), lock = lock_page(page_size);
    const auto per_run = static_cast<std::uint32_t>(kScanBytes / page_size);
    std::vector<std::byte> buffer;
    std::vector<std::uint64_t> hashes;
    for (std::uint64_t p = 1; p <= scan.page_count; p += per_run) {
        const auto first = static_cast<std::uint32_t>(p);
        const std::uint32_t n = std::min(per_run, scan.page_count - first + 1);
        buffer.resize(std::size_t{n} * page_size);
        view.read(first, buffer);
        hashes.resize(n);
        for (std::uint32_t i = 0; i < n; ++i) {
            const Bytes page = Bytes(buffer).subspan(std::size_t{i} * page_size, page_size);
            hashes[i] = first + i == lock ? 0 : page_hash(first + i, page);
            scan.checksum += hashes[i];
        }
        if (!visit(first, hashes))
            return;
    }
}

/// A database of this checksum is in the file alone, and on the disk. With synchronous=NORMAL what is
/// written after it is so only at the next checkpoint: a loss of power leads back to here, or to
/// somewhere in the WAL that follows.
void Capture::note_checkpointed(DbChecksum checksum) {
    state_.set_note(kCheckpointed, std::to_string(checksum));
}

/// @p from: where we were, @p now: what the database is, another state.
void Capture::warn_if_gone_back(const ShipPosition& from, DbChecksum now) {
    if (wal_is_cut_ || state_.note(kCheckpointed) == std::to_string(now))
        log_.warn(db_->path() +
                  " has lost commits that were captured: with synchronous=NORMAL a loss of power does "
                  "that, or an older copy was put in its place. It is shipped as it is now; what it "
                  "lost is restorable: zl-restore --sequence " +
                  std::to_string(from.sequence));
    wal_is_cut_ = false;
}

bool Capture::compare(const std::string& reason, std::optional<TimePoint> gap_from) {
    if (!position_ || position_->page_size != db_->page_size())
        return false;
    Scan now = scan_start();
    const std::uint64_t bytes = std::uint64_t{now.page_count} * db_->page_size();
    const std::uint64_t limit = std::max(kSmallDelta, bytes / 10 * 3);
    std::vector<std::uint32_t> differing;
    bool cheap = true;
    scan(now, [&](std::uint32_t first, const std::vector<std::uint64_t>& hashes) {
        const std::vector<std::uint64_t> old = state_.hashes(first, hashes.size());
        for (std::size_t i = 0; i < hashes.size(); ++i)
            if (hashes[i] != old[i] ||
                (first + i > position_->page_count && first + i != lock_page(db_->page_size())))
                differing.push_back(first + static_cast<std::uint32_t>(i));
        cheap = differing.size() * std::uint64_t{db_->page_size()} <= limit;
        return cheap;
    });
    if (!cheap)
        return false;
    const bool same = differing.empty() && now.page_count == position_->page_count;
    if (!same)
        warn_if_gone_back(*position_, now.checksum);
    if (now.wal.frame == 0)
        note_checkpointed(now.checksum);
    if (same) {
        if (now.checksum != position_->checksum)
            return false; // our own hashes are damaged
        position_->wal = now.wal;
        position_->device = db_->device();
        position_->inode = db_->inode();
        state_.set_position(*position_);
        return true;
    }
    SegmentHeader header = next_header();
    header.page_count = now.page_count;
    header.resync = reason;
    header.gap_from = gap_from;
    PageView view(*db_, now.page_count, now.overlay);
    write_segment(header, differing, view, now.wal);
    if (position_->checksum == now.checksum)
        return true;
    // Only a damaged table of hashes does this; what was written proves itself wrong, so no restore
    // would take it. The segment is in the queue already: a generation of its own sets it right.
    log_.warn("the page hashes in " + state_.directory() + " do not fit the database");
    return false;
}

void Capture::store_hashes(Scan& scan) {
    this->scan(scan, [&](std::uint32_t first, const std::vector<std::uint64_t>& hashes) {
        state_.put_hashes(first, hashes);
        return true;
    });
}

DbChecksum Capture::rehash() {
    const std::optional<ShipPosition> from = std::exchange(position_, std::nullopt);
    state_.begin_rehash();
    scanned_ = scan_start();
    store_hashes(scanned_);
    if (from && from->checksum != scanned_.checksum)
        warn_if_gone_back(*from, scanned_.checksum);
    if (scanned_.wal.frame == 0)
        note_checkpointed(scanned_.checksum);
    return scanned_.checksum;
}

bool Capture::equals(const SegmentHeader& head) {
    if (head.page_size != db_->page_size())
        return false;
    scanned_ = scan_start();
    if (scanned_.page_count != head.page_count)
        return false;
    scan(scanned_, [](std::uint32_t, const std::vector<std::uint64_t>&) { return true; });
    return scanned_.checksum == head.checksum_after;
}

void Capture::adopt(const SegmentHeader& head) {
    position_.reset();
    state_.begin_rehash();
    // The same state as in equals(): the read lock is held since.
    scanned_.checksum = 0;
    store_hashes(scanned_);
    if (scanned_.checksum != head.checksum_after)
        throw Error(ErrorKind::transient, db_->path() + " was changed outside of its WAL just now");
    QueuedSegment q;
    q.sequence = head.sequence;
    q.id = head.id();
    q.generation = head.generation;
    q.kind = head.kind;
    q.time = head.time;
    ShipPosition p;
    p.generation = head.generation;
    p.sequence = head.sequence;
    p.id = q.id;
    p.time = head.time;
    p.page_size = head.page_size;
    p.page_count = head.page_count;
    p.checksum = head.checksum_after;
    p.wal = scanned_.wal;
    p.device = db_->device();
    p.inode = db_->inode();
    state_.adopt(q);
    state_.set_position(p);
    position_ = p;
}

} // namespace zl
