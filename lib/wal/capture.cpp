#include "wal/capture.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/handle.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace zl {

namespace {

constexpr std::uint64_t kBatchBytes = 16 << 20;
/// What may be captured in memory while writers wait.
constexpr std::uint64_t kMaxTailBytes = 1 << 20;
/// Read at once when the whole database is looked at.
constexpr std::size_t kScanBytes = 4 << 20;
/// One object is written with one PUT: S3's limit is 5 GiB.
constexpr std::uint64_t kMaxSegmentBytes = std::uint64_t{4} << 30;
/// A difference of at most this is worth a segment whatever the size of the database.
constexpr std::uint64_t kSmallDelta = 4 << 20;
constexpr int kBarrierBusyMs = 20;

/// A segment under way: gone unless it was committed. On a full disk its bytes are needed.
struct TemporarySegment {
    std::string path;
    UniqueFd fd;
    explicit TemporarySegment(std::string name)
        : path(std::move(name)), fd(open_file(path, O_RDWR | O_CREAT | O_TRUNC)) {}
    ~TemporarySegment() { ::unlink(path.c_str()); }
};

/// Pages of a batch where the WAL has them.
class BatchPages final : public PageSource {
public:
    BatchPages(const WalReader& wal, const WalBatch& batch, std::uint32_t page_size)
        : wal_(wal), batch_(batch), page_size_(page_size) {}
    std::uint32_t page_size() const override { return page_size_; }
    std::uint32_t page_count() const override { return batch_.page_count; }
    void read(std::uint32_t page, std::span<std::byte> out) override {
        auto it = std::lower_bound(batch_.pages.begin(), batch_.pages.end(),
                                   WalBatch::Place{page, 0});
        const auto index = static_cast<std::size_t>(it - batch_.pages.begin());
        if (loaded_.empty())
            return wal_.page(it->second, out);
        std::copy_n(loaded_.begin() + static_cast<std::ptrdiff_t>(index * page_size_), page_size_,
                    out.begin());
    }
    /// Now, because the WAL may soon be written over.
    void load() {
        std::vector<std::byte> all(batch_.pages.size() * page_size_);
        for (std::size_t i = 0; i < batch_.pages.size(); ++i)
            wal_.page(batch_.pages[i].second,
                      std::span(all).subspan(i * page_size_, page_size_));
        loaded_ = std::move(all);
    }

private:
    const WalReader& wal_;
    const WalBatch& batch_;
    std::uint32_t page_size_;
    std::vector<std::byte> loaded_;
};

std::vector<std::uint32_t> numbers(const std::vector<WalBatch::Place>& places) {
    std::vector<std::uint32_t> pages;
    pages.reserve(places.size());
    for (const auto& [page, frame] : places)
        pages.push_back(page);
    return pages;
}

} // namespace

Capture::Capture(std::unique_ptr<LiveDb> db, ShipState& state, ReplicaClock& clock, Log& log,
                 int level)
    : db_(std::move(db)), state_(state), clock_(clock), log_(log), level_(level),
      wal_(db_->wal_fd(), db_->page_size(), db_->path() + "-wal") {}

std::optional<WalIndex> Capture::stable_index() {
    for (int i = 0; i < 200; ++i) {
        if (auto index = db_->index())
            return index;
        if (i % 50 == 49)
            db_->nudge();
        std::this_thread::sleep_for(std::chrono::microseconds(i < 20 ? 20 : 500));
    }
    return std::nullopt;
}

/// The WAL that @p index speaks of, before its first frame; nullopt: its header is not there yet.
std::optional<WalPosition> Capture::start_of_wal(const WalIndex& index) const {
    if (index.max_frame == 0)
        return WalPosition{index.salt, 0, {}};
    auto header = wal_.header();
    if (!header || header->salt != index.salt || header->big_endian != index.big_endian)
        return std::nullopt;
    return WalPosition{index.salt, 0, header->checksum};
}

void Capture::note_begin(const WalIndex& index) {
    begun_ = {index.salt, index.max_frame, {}};
}

Capture::Continuity Capture::attach(std::string& reason) {
    db_->begin_read();
    position_ = state_.position();
    auto index = stable_index();
    if (!index)
        throw Error(ErrorKind::transient, db_->path() + ": the wal-index does not settle");
    note_begin(*index);
    if (!position_)
        return Continuity::no_position;
    const WalPosition* at = position_->wal ? &*position_->wal : nullptr;
    if (position_->page_size != db_->page_size())
        reason = "the page size changed";
    else if (position_->device != db_->device() || position_->inode != db_->inode())
        reason = "the database file was replaced";
    else if (!at)
        reason = "the last run lost track of the WAL";
    else if (index->max_frame == 0)
        reason = "the WAL was emptied while no shipper ran";
    else if (index->salt != at->salt)
        reason = "the WAL was restarted while no shipper ran";
    else if (index->max_frame < at->frame)
        reason = "the WAL is shorter than what was captured of it";
    else if (!wal_.holds(*at))
        reason = "the WAL has other content than what was captured of it";
    else
        return Continuity::kept;
    return Continuity::lost;
}

bool Capture::all_captured_at_begin() const {
    return position_->wal->salt == begun_.salt && position_->wal->frame == begun_.frame;
}

/// Where to go on reading; nullopt: nothing to read. @p reason is set when continuity is lost.
std::optional<WalPosition> Capture::next_from(const WalIndex& index, std::string& reason) {
    const WalPosition& at = *position_->wal;
    wal_frames_ = index.max_frame;
    if (index.salt == at.salt && index.max_frame >= at.frame) {
        if (index.max_frame == at.frame)
            return std::nullopt;
        // An empty WAL has a salt already, but its chain starts with the header to come.
        return at.frame == 0 ? start_of_wal(index) : std::optional(at);
    }
    if (!all_captured_at_begin()) {
        reason = index.salt == at.salt ? "the WAL went back behind what was captured"
                                       : "the WAL was restarted under the read lock";
        return std::nullopt;
    }
    return index.max_frame > 0 ? start_of_wal(index) : std::nullopt;
}

Capture::Step Capture::step(std::string& reason) {
    reason.clear();
    if (!position_ || !position_->wal) {
        reason = "no position in the WAL";
        return Step::lost;
    }
    auto index = stable_index();
    if (!index)
        return Step::nothing;
    auto from = next_from(*index, reason);
    if (!from)
        return reason.empty() ? Step::nothing : Step::lost;
    auto batch = wal_.read(*from, *index, kBatchBytes);
    if (!batch) {
        // A frame that is just being written again (a rolled-back tail) settles; damage does not.
        if (++misreads_ < 100)
            return Step::nothing;
        misreads_ = 0;
        reason = "frames of the WAL do not match the wal-index";
        return Step::lost;
    }
    misreads_ = 0;
    if (batch->pages.size() * std::uint64_t{db_->page_size()} > kMaxSegmentBytes) {
        reason = "a transaction is too large for one object";
        return Step::lost;
    }
    BatchPages pages(wal_, *batch, db_->page_size());
    take(*batch, pages, batch->end.frame - from->frame);
    return Step::captured;
}

std::optional<std::uint64_t> Capture::pending_frames() {
    auto index = db_->index();
    if (!index || !position_ || !position_->wal)
        return std::nullopt;
    const WalPosition& at = *position_->wal;
    if (index->salt != at.salt)
        return index->max_frame;
    return index->max_frame > at.frame ? index->max_frame - at.frame : 0;
}

std::optional<WalPosition> Capture::committed() {
    auto index = stable_index();
    return index ? std::optional(WalPosition{index->salt, index->max_frame, {}}) : std::nullopt;
}

bool Capture::reached(const WalPosition& goal) const {
    if (!position_ || !position_->wal)
        return false;
    // Another salt: we are in a later WAL, or the goal is in one that begins after ours.
    if (position_->wal->salt == goal.salt)
        return position_->wal->frame >= goal.frame;
    return goal.frame == 0 && all_captured_at_begin();
}

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

Capture::Checkpoint Capture::checkpoint(std::string& reason) {
    for (int i = 0; i < 4; ++i) {
        const Step done = step(reason);
        if (done == Step::lost)
            return Checkpoint::lost;
        if (done == Step::nothing)
            break;
    }
    reason.clear();
    std::optional<WalBatch> tail;
    std::optional<BatchPages> pages;
    std::optional<LiveDb::Checkpointed> result;
    std::uint64_t tail_frames = 0;
    {
        if (!db_->lock_writers(kBarrierBusyMs))
            return Checkpoint::busy;
        Finally unlock([this]() noexcept { db_->unlock_writers(); });
        auto index = stable_index();
        if (!index)
            return Checkpoint::busy;
        auto from = next_from(*index, reason);
        if (!from && !reason.empty())
            return Checkpoint::lost;
        if (from) {
            tail_frames = index->max_frame - from->frame;
            if (tail_frames * db_->page_size() > kMaxTailBytes)
                return Checkpoint::busy;
            if (!(tail = wal_.read(*from, *index, kBatchBytes)))
                return Checkpoint::busy;
            pages.emplace(wal_, *tail, db_->page_size());
            pages->load();
            if (!unwritten(*tail).empty())
                return Checkpoint::busy; // they need the view: capture them without the barrier
        }
        db_->end_read();
        // Whatever happens, the lock is taken again before the barrier falls. If that fails, the
        // caller finds reading() false and attaches anew.
        Finally hold([&]() noexcept {
            try {
                db_->begin_read();
                note_begin(*index);
            } catch (const Error& e) {
                log_.warn(std::string("cannot take the read lock again: ") + e.what());
            }
        });
        ++checkpoints_;
        result = db_->checkpoint();
        crash_point("ship.checkpointed");
    }
    crash_point("ship.tail");
    if (tail)
        take(*tail, *pages, tail_frames);
    if (!result)
        return Checkpoint::busy;
    if (result->complete())
        since_checkpoint_ = 0;
    return result->complete() ? Checkpoint::complete : Checkpoint::partial;
}

bool Capture::file_was_written_over() {
    auto index = db_->index();
    if (!index)
        return false;
    const Written now{db_->file_stamp(), index->salt, index->backfilled, checkpoints_};
    const bool moved = !written_ || now.salt != written_->salt ||
                       now.backfilled != written_->backfilled ||
                       now.checkpoints != written_->checkpoints;
    if (moved || now.stamp == written_->stamp) {
        const bool verdict = suspicious_ && !moved;
        suspicious_ = false;
        written_ = now;
        return verdict;
    }
    // A checkpointer writes first and says so afterwards: only if it is quiet at the next look, and
    // nobody said anything, it was none.
    suspicious_ = true;
    written_ = now;
    return false;
}

/// Last versions of the pages in the WAL up to @p index; none when all of them are in the file (then
/// the WAL may be restarted at any time, and need not be read).
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
    if (differing.empty() && now.page_count == position_->page_count) {
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

DbChecksum Capture::rehash() {
    position_.reset();
    state_.begin_rehash();
    scanned_ = scan_start();
    scan(scanned_, [&](std::uint32_t first, const std::vector<std::uint64_t>& hashes) {
        state_.put_hashes(first, hashes);
        return true;
    });
    return scanned_.checksum;
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

bool Capture::equals(const SegmentHeader& head) {
    if (head.page_size != db_->page_size())
        return false;
    Scan now = scan_start();
    if (now.page_count != head.page_count)
        return false;
    scan(now, [](std::uint32_t, const std::vector<std::uint64_t>&) { return true; });
    return now.checksum == head.checksum_after;
}

bool Capture::adopt(const SegmentHeader& head) {
    if (rehash() != head.checksum_after || scanned_.page_count != head.page_count)
        return false; // a commit came in between
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
    return true;
}

std::optional<Capture::View> Capture::view(const std::atomic<bool>* cancel) {
    if (!position_ || !position_->wal || !db_->reading())
        return std::nullopt;
    auto index = stable_index();
    if (!index)
        return std::nullopt;
    WalIndex at = *index;
    at.max_frame = static_cast<std::uint32_t>(position_->wal->frame);
    at.checksum = position_->wal->checksum;
    // Another salt: the WAL of our position is all in the file, and being written over.
    if (index->salt != position_->wal->salt)
        at.max_frame = 0;
    View view;
    view.position = *position_;
    view.pages = std::make_unique<PageView>(*db_, position_->page_count, overlay(at), cancel);
    return view;
}

} // namespace zl
