#include "wal/capture.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/handle.hpp"

#include <algorithm>
#include <thread>

namespace zl {

namespace {

constexpr std::uint64_t kBatchBytes = 16 << 20;
/// What may be captured in memory while writers wait.
constexpr std::uint64_t kMaxTailBytes = 1 << 20;
/// One object is written with one PUT: S3's limit is 5 GiB.
constexpr std::uint64_t kMaxSegmentBytes = std::uint64_t{4} << 30;
constexpr int kBarrierBusyMs = 20;
/// What a checkpoint under the barrier may have to move.
constexpr std::uint64_t kAheadBytes = 8 << 20;

/// Pages of a batch where the WAL has them.
class BatchPages final : public PageSource {
public:
    BatchPages(const WalReader& wal, const WalBatch& batch, std::uint32_t page_size)
        : wal_(wal), batch_(batch), page_size_(page_size) {}
    std::uint32_t page_size() const override { return page_size_; }
    std::uint32_t page_count() const override { return batch_.page_count; }
    void read(std::uint32_t page, std::span<std::byte> out) override {
        auto it =
            std::lower_bound(batch_.pages.begin(), batch_.pages.end(), WalBatch::Place{page, 0});
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
            wal_.page(batch_.pages[i].second, std::span(all).subspan(i * page_size_, page_size_));
        loaded_ = std::move(all);
    }

private:
    const WalReader& wal_;
    const WalBatch& batch_;
    std::uint32_t page_size_;
    std::vector<std::byte> loaded_;
};

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
    wal_is_cut_ = false;
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
    else if (wal_is_cut_ = index->max_frame < at->frame; wal_is_cut_)
        reason = "the WAL is shorter than what was captured of it";
    else if (wal_is_cut_ = !wal_.holds(*at); wal_is_cut_)
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

Capture::Step Capture::step(std::string& reason, std::uint64_t limit_bytes) {
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
    auto batch = wal_.read(*from, *index, std::min(kBatchBytes, limit_bytes));
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

/// Most of a large WAL (behind a long reader, after an outage or a snapshot) goes into the file
/// before the barrier, while writers go on; under it they would wait for all of that. Safe without
/// the barrier because a read lock in a slot >= 1 is held throughout, so nobody can restart the WAL
/// (which the WAL-reset bug needs): as long as there are frames behind our old mark, the WAL cannot
/// be all in the file, and only then the new lock would be in slot 0.
void Capture::backfill_ahead() {
    auto index = stable_index();
    if (!index || (index->salt == begun_.salt && index->max_frame <= begun_.frame) ||
        (index->max_frame - index->backfilled) * std::uint64_t{db_->page_size()} < kAheadBytes)
        return;
    db_->move_read();
    if (auto now = stable_index())
        index = now;
    note_begin(*index);
    ++checkpoints_;
    db_->checkpoint();
    db_->sync_file(); // SQLite does so only at the end of the WAL: it would be left to the barrier
}

Capture::Checkpoint Capture::checkpoint(std::string& reason) {
    if (!db_->reading()) // it was let go of on purpose, and must not come back as a side effect
        return Checkpoint::busy;
    backfill_ahead();
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
    if (result->complete()) {
        since_checkpoint_ = 0;
        note_checkpointed(position_->checksum);
    }
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

bool Capture::has_view() const {
    return position_ && position_->wal && db_->reading() &&
           (position_->wal->salt != begun_.salt || position_->wal->frame >= begun_.frame);
}

std::optional<Capture::View> Capture::view(const std::atomic<bool>* cancel) {
    if (!has_view())
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
