#include "layer/prefetch.hpp"

#include <algorithm>

namespace zl {

namespace {

/// The budget is asked for in such steps, to take the lock less often.
constexpr std::size_t kReserveStep = 64 << 10;

} // namespace

Prefetcher::Prefetcher(PackState& state, unsigned threads) : state_(state), threads_(threads) {
    pool_.add([this] { work(); });
}

bool Prefetcher::push(PackItem item) {
    if (!filling_) {
        std::unique_lock lock(mutex_);
        walker_wake_.wait(lock, [&] { return is_aborted_ || ahead_.size() < kBatchesAhead; });
        if (is_aborted_)
            return false;
        filling_ = std::make_shared<PackBatch>();
        filling_->items.reserve(kBatchItems);
    }
    item.sequence = next_item_++;
    filling_->items.push_back(std::move(item));
    return filling_->items.size() < kBatchItems || flush();
}

bool Prefetcher::flush() {
    if (!filling_)
        return true;
    // One by one: where threads are few, those that others cannot do without were made by now.
    if (next_sequence_ > 0 && pool_.size() < threads_)
        pool_.add_up_to(1, [this] { work(); });
    std::lock_guard lock(mutex_);
    filling_->sequence = next_sequence_++;
    ahead_.push_back(filling_);
    to_load_.push_back(std::move(filling_));
    filling_ = nullptr;
    work_ready_.notify_one();
    return !is_aborted_;
}

std::uint64_t Prefetcher::progress() const {
    std::lock_guard lock(mutex_);
    return progress_;
}

bool Prefetcher::wait_progress(std::uint64_t seen) {
    std::unique_lock lock(mutex_);
    walker_wake_.wait(lock, [&] { return is_aborted_ || progress_ != seen; });
    return !is_aborted_;
}

void Prefetcher::close(std::exception_ptr error) {
    flush();
    std::lock_guard lock(mutex_);
    is_closed_ = true;
    error_ = std::move(error);
    work_ready_.notify_all();
    batch_loaded_.notify_all();
}

std::shared_ptr<PackBatch> Prefetcher::next() {
    std::unique_lock lock(mutex_);
    batch_loaded_.wait(lock, [&] {
        return is_aborted_ || (ahead_.empty() ? is_closed_ : ahead_.front()->is_loaded);
    });
    if (is_aborted_)
        throw Interrupted();
    if (ahead_.empty()) {
        if (error_)
            std::rethrow_exception(error_);
        return nullptr;
    }
    std::shared_ptr<PackBatch> batch = std::move(ahead_.front());
    ahead_.pop_front();
    head_ = batch->sequence + 1;
    walker_wake_.notify_one();
    budget_free_.notify_all();
    return batch;
}

void Prefetcher::release(std::shared_ptr<PackBatch> batch) {
    const std::size_t reserved = batch->reserved;
    batch.reset();
    std::lock_guard lock(mutex_);
    used_ -= reserved;
    ++progress_;
    walker_wake_.notify_one();
    budget_free_.notify_all();
}

void Prefetcher::abort() {
    std::lock_guard lock(mutex_);
    is_aborted_ = true;
    work_ready_.notify_all();
    batch_loaded_.notify_all();
    walker_wake_.notify_all();
    budget_free_.notify_all();
}

void Prefetcher::work() {
    EntryLoader loader(state_);
    for (;;) {
        std::shared_ptr<PackBatch> batch;
        {
            std::unique_lock lock(mutex_);
            work_ready_.wait(lock, [&] { return is_aborted_ || is_closed_ || !to_load_.empty(); });
            if (is_aborted_ || to_load_.empty())
                return;
            batch = std::move(to_load_.front());
            to_load_.pop_front();
        }
        load(*batch, loader);
        std::lock_guard lock(mutex_);
        batch->is_loaded = true;
        ++progress_;
        walker_wake_.notify_one();
        if (batch->sequence == head_)
            batch_loaded_.notify_one();
    }
}

void Prefetcher::load(PackBatch& batch, EntryLoader& loader) {
    try {
        for (PackItem& item : batch.items)
            loader.load(item, [&](std::size_t n) { reserve(batch, n); });
    } catch (...) {
        batch.error = std::current_exception();
    }
}

void Prefetcher::reserve(PackBatch& batch, std::size_t bytes) {
    batch.used += bytes;
    if (batch.used <= batch.reserved)
        return;
    const std::size_t more = std::max(batch.used - batch.reserved, kReserveStep);
    std::unique_lock lock(mutex_);
    budget_free_.wait(lock, [&] {
        return is_aborted_ || used_ + more <= kPrefetchBudget || batch.sequence == head_;
    });
    if (is_aborted_)
        throw Interrupted();
    used_ += more;
    batch.reserved += more;
}

} // namespace zl
