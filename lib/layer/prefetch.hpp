/// Loads entries on several threads, ahead of the one that assembles the tar, and hands them out in
/// order. On a cold disk a small file costs a few seeks; eight at a time hide most of them.
///
/// Bounded: kBatchesAhead batches, and a byte budget for content. The batch that the assembler
/// waits for may exceed the budget, so that later ones cannot starve it.
#pragma once

#include "base/thread_pool.hpp"
#include "layer/entry_loader.hpp"
#include "layer/pack_item.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace zl {

inline constexpr std::size_t kBatchItems = 16;
inline constexpr std::size_t kBatchesAhead = 512;
inline constexpr std::size_t kPrefetchBudget = 32 << 20;

struct PackBatch {
    std::uint64_t sequence = 0;
    std::vector<PackItem> items;
    std::size_t reserved = 0, used = 0; ///< of the byte budget
    bool is_loaded = false;
    std::exception_ptr error;
};

class Prefetcher {
public:
    Prefetcher(PackState& state, unsigned threads);
    // The walker must have ended when this goes.

    // The walker's side. False: the other side wants no more.
    bool push(PackItem item);
    /// Sends the batch begun with push().
    bool flush();
    /// Blocks until some batch more was loaded or consumed since @p seen was returned.
    std::uint64_t progress() const;
    bool wait_progress(std::uint64_t seen);
    /// No more items; @p error comes out of next() after all items.
    void close(std::exception_ptr error = nullptr);

    // The assembler's side.
    /// The next batch in order, loaded; null at the end. Rethrows what went wrong at this place.
    std::shared_ptr<PackBatch> next();
    /// Done with the batch that next() returned: its memory and handles are free again.
    void release(std::shared_ptr<PackBatch> batch);
    /// Wakes everyone; push() and next() end.
    void abort();

private:
    void work();
    void load(PackBatch& batch, EntryLoader& loader);
    void reserve(PackBatch& batch, std::size_t bytes);

    PackState& state_;
    const unsigned threads_; ///< at most
    mutable std::mutex mutex_;
    std::condition_variable work_ready_, batch_loaded_, walker_wake_, budget_free_;
    std::deque<std::shared_ptr<PackBatch>> ahead_;   ///< not yet given out by next(), in order
    std::deque<std::shared_ptr<PackBatch>> to_load_; ///< not yet taken by a thread
    std::shared_ptr<PackBatch> filling_;
    std::uint64_t next_sequence_ = 0, next_item_ = 1;
    std::uint64_t head_ = 0; ///< sequence of the batch that the assembler is at
    std::size_t used_ = 0;   ///< of the budget
    std::uint64_t progress_ = 0;
    bool is_closed_ = false, is_aborted_ = false;
    std::exception_ptr error_;
    ThreadPool pool_{[this] { abort(); }};
};

} // namespace zl
