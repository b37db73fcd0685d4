#include "wal/snapshot.hpp"

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "stream/trailer.hpp"
#include "stream/zstd_stream.hpp"
#include "wal/header_json.hpp"
#include "wal/segment.hpp"
#include "wal/snapshot_header.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>

namespace zl {

namespace {

/// One frame on its way: filled by the caller, compressed by a worker, written by the caller.
struct Job {
    std::uint32_t first = 0;
    std::vector<std::byte> data, compressed;
    std::vector<std::uint64_t> hashes;
    bool done = false;
    std::exception_ptr failure;
};

void process(Job& job, FrameCompressor& compressor, std::uint32_t page_size) {
    std::uint32_t lock = lock_page(page_size);
    std::size_t pages = job.data.size() / page_size;
    job.hashes.assign(pages, 0);
    for (std::size_t i = 0; i < pages; ++i) {
        auto page = std::span(job.data).subspan(i * page_size, page_size);
        auto number = static_cast<std::uint32_t>(job.first + i);
        if (number == lock) // whatever the source gave: these bytes mean nothing
            std::fill(page.begin(), page.end(), std::byte{0});
        else
            job.hashes[i] = page_hash(number, page);
    }
    compressor.compress(job.data, job.compressed);
}

/// Compresses jobs on a few threads; the caller takes them back in the order given.
class Pool {
public:
    Pool(int threads, int level, std::uint32_t page_size) {
        const auto compress = [this, level, page_size] { work(level, page_size); };
        threads_.add(compress);
        threads_.add_up_to(static_cast<std::size_t>(threads - 1), compress);
    }

    void submit(Job& job) {
        {
            std::lock_guard lock(mutex_);
            job.done = false;
            waiting_.push_back(&job);
        }
        changed_.notify_all();
    }

    void wait(Job& job) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return job.done; });
        if (job.failure)
            std::rethrow_exception(job.failure);
    }

private:
    void stop() {
        {
            std::lock_guard lock(mutex_);
            stop_ = true;
            waiting_.clear();
        }
        changed_.notify_all();
    }
    void work(int level, std::uint32_t page_size) {
        std::optional<FrameCompressor> compressor;
        for (;;) {
            Job* job = nullptr;
            {
                std::unique_lock lock(mutex_);
                changed_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
                if (stop_)
                    return;
                job = waiting_.front();
                waiting_.pop_front();
            }
            std::exception_ptr failure;
            try {
                if (!compressor)
                    compressor.emplace(level);
                process(*job, *compressor, page_size);
            } catch (...) {
                failure = std::current_exception();
            }
            {
                std::lock_guard lock(mutex_);
                job->failure = failure;
                job->done = true;
            }
            changed_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Job*> waiting_;
    bool stop_ = false;
    ThreadPool threads_{[this] { stop(); }};
};

class SnapshotWriter {
public:
    SnapshotWriter(PageSource& pages, SnapshotHeader& header, Sink& out)
        : pages_(pages), header_(header), out_(out) {}

    void
    run(int level, int threads,
        const std::function<void(std::uint32_t, const std::vector<std::uint64_t>&)>& on_hashes) {
        auto per_frame = static_cast<std::uint32_t>(kSnapshotFrameSize / header_.page_size);
        std::uint64_t count = header_.page_count;
        threads = std::max(threads, 1);
        std::vector<Job> ring(static_cast<std::size_t>(threads) + 1);
        Pool pool(threads, level, header_.page_size);
        std::uint64_t begun = 0, taken = 0; // frames
        for (std::uint64_t next = 1; next <= count || taken < begun;) {
            if (next <= count && begun - taken < ring.size()) {
                Job& job = ring[begun++ % ring.size()];
                job.first = static_cast<std::uint32_t>(next);
                std::uint64_t n = std::min<std::uint64_t>(per_frame, count - next + 1);
                job.data.resize(static_cast<std::size_t>(n) * header_.page_size);
                pages_.read(job.first, job.data);
                pool.submit(job);
                next += n;
            } else {
                Job& job = ring[taken++ % ring.size()];
                pool.wait(job);
                take(job);
                if (on_hashes)
                    on_hashes(job.first, job.hashes);
            }
        }
        finish();
    }

private:
    void take(const Job& job) {
        out_.write(job.compressed);
        hasher_.update(job.compressed);
        header_.body_size += job.compressed.size();
        for (std::uint64_t h : job.hashes)
            header_.checksum += h;
        frames_.push_back({static_cast<std::uint32_t>(job.compressed.size()),
                           static_cast<std::uint32_t>(job.data.size())});
    }

    void finish() {
        header_.body_sha256 = hasher_.finish();
        std::string frame =
            skippable_frame(kSnapshotVariant, sealed(snapshot_header_line(header_)));
        if (frame.size() > kMaxSnapshotHeader)
            throw Error(ErrorKind::internal,
                        "snapshot header of " + std::to_string(frame.size()) + " bytes");
        out_.write(as_bytes(frame));
        frames_.push_back({static_cast<std::uint32_t>(frame.size()), 0});
        out_.write(as_bytes(encode_seek_table(frames_)));
    }

    PageSource& pages_;
    SnapshotHeader& header_;
    Sink& out_;
    Hasher hasher_;
    std::vector<SeekEntry> frames_;
};

} // namespace

void write_snapshot(PageSource& pages, SnapshotHeader& header, Sink& out, int level, int threads,
                    const std::function<void(std::uint32_t first,
                                             const std::vector<std::uint64_t>&)>& on_page_hashes) {
    header.page_size = pages.page_size();
    header.page_count = pages.page_count();
    header.checksum = 0;
    header.body_size = 0;
    if (!valid_page_size(header.page_size) || header.page_count == 0)
        throw Error(ErrorKind::internal, "snapshot of " + std::to_string(header.page_count) +
                                             " pages of " + std::to_string(header.page_size));
    SnapshotWriter(pages, header, out).run(level, threads, on_page_hashes);
}

} // namespace zl
