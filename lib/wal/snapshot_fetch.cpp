#include "wal/snapshot_fetch.hpp"

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "stream/zstd_stream.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

namespace zl {

namespace {

/// Unneeded frames between two needed ones are fetched along when they are fewer bytes than this: a
/// request more costs more.
constexpr std::uint64_t kWorthARequest = 256 << 10;

struct FrameRun {
    std::size_t first = 0, end = 0;
};

/// One per thread that fetches frames; they grow to the largest frame and stay.
struct FrameBuffers {
    std::vector<std::byte> compressed, content;
    FrameDecompressor zstd;
};

/// Takes frames one by one as they arrive and writes the pages of those that are needed.
class FrameReceiver final : public Sink {
public:
    FrameReceiver(const std::vector<SeekEntry>& frames, std::size_t first, std::size_t end,
                  const std::vector<char>& needed, std::uint32_t first_page, PageWriter& writer,
                  FrameBuffers& buffers, Progress& progress, const std::stop_token& stop)
        : frames_(frames), frame_(first), end_(end), needed_(needed), page_(first_page),
          writer_(writer), buffers_(buffers), progress_(progress), stop_(stop) {
        buffers_.compressed.clear(); // of a transfer that failed
    }

    void write(Bytes data) override {
        if (stop_.stop_requested())
            throw Interrupted();
        progress_.advance(static_cast<std::int64_t>(data.size()));
        while (!data.empty()) {
            if (frame_ == end_)
                throw Error(ErrorKind::data, "more bytes than asked for");
            const std::size_t size = frames_[frame_].compressed_size;
            const std::size_t n = std::min(data.size(), size - taken_);
            if (needed_[frame_])
                buffers_.compressed.insert(buffers_.compressed.end(), data.begin(),
                                           data.begin() + static_cast<std::ptrdiff_t>(n));
            taken_ += n;
            data = data.subspan(n);
            if (taken_ == size)
                end_frame();
        }
    }
    bool complete() const { return frame_ == end_; }
    std::uint32_t next_page() const { return page_; }

private:
    void end_frame() {
        const std::uint32_t content = frames_[frame_].content_size;
        if (needed_[frame_]) {
            buffers_.zstd.decompress(buffers_.compressed, content, buffers_.content);
            writer_.snapshot_pages(page_, buffers_.content);
            buffers_.compressed.clear();
        }
        page_ += content / writer_.page_size();
        taken_ = 0;
        ++frame_;
    }

    const std::vector<SeekEntry>& frames_;
    std::size_t frame_, end_;
    const std::vector<char>& needed_;
    std::uint32_t page_; ///< first page of the frame
    PageWriter& writer_;
    FrameBuffers& buffers_;
    Progress& progress_;
    const std::stop_token& stop_;
    std::size_t taken_ = 0; ///< of the frame
};

/// Runs of frames worth one request each.
std::vector<FrameRun> runs_of(const std::vector<SeekEntry>& frames, const std::vector<char>& needed,
                              std::uint64_t range) {
    std::vector<FrameRun> runs;
    std::uint64_t in_run = 0, gap = 0;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        const std::uint64_t size = frames[i].compressed_size;
        if (!needed[i]) {
            gap += size;
            continue;
        }
        if (runs.empty() || gap > kWorthARequest || in_run + gap + size > range) {
            runs.push_back({i, i});
            in_run = gap = 0;
        }
        in_run += gap + size;
        gap = 0;
        runs.back().end = i + 1;
    }
    return runs;
}

class SnapshotFetch {
public:
    SnapshotFetch(ReplicaCatalogue& catalogue, const RestorePlan& plan, PageWriter& writer,
                  Progress& progress, std::stop_token stop)
        : catalogue_(catalogue), plan_(plan), frames_(plan.snapshot.frames), writer_(writer),
          progress_(progress), stop_(std::move(stop)), needed_(frames_.size()),
          first_page_(frames_.size()) {
        std::uint64_t page = 1;
        for (std::size_t i = 0; i < frames_.size(); ++i) {
            if (frames_[i].content_size % writer_.page_size() != 0)
                throw Error(ErrorKind::data,
                            "frame " + std::to_string(i) + " does not hold whole pages");
            const std::uint32_t count = frames_[i].content_size / writer_.page_size();
            first_page_[i] = static_cast<std::uint32_t>(page);
            needed_[i] = page <= writer_.page_count() && writer_.needs(first_page_[i], count);
            page += count;
            largest_ = std::max<std::size_t>(largest_, frames_[i].compressed_size);
        }
    }

    std::uint64_t run(int jobs) {
        const auto runs = runs_of(frames_, needed_, kSnapshotRange);
        parallel_for(runs.size(), std::min(jobs, kMaxSnapshotFetchers), [&](std::size_t i) {
            auto buffers = take_buffers();
            fetch(runs[i], *buffers);
            std::lock_guard lock(mutex_);
            free_.push_back(std::move(buffers));
        });
        return bytes_;
    }

private:
    std::unique_ptr<FrameBuffers> take_buffers() {
        std::lock_guard lock(mutex_);
        if (free_.empty()) {
            auto made = std::make_unique<FrameBuffers>();
            made->compressed.reserve(largest_);
            return made;
        }
        auto out = std::move(free_.back());
        free_.pop_back();
        return out;
    }

    void fetch(const FrameRun& run, FrameBuffers& buffers) {
        GetOptions get;
        get.range.emplace();
        for (std::size_t i = 0; i < run.end; ++i)
            (i < run.first ? get.range->offset : get.range->length) += frames_[i].compressed_size;
        FrameReceiver receiver(frames_, run.first, run.end, needed_, first_page_[run.first],
                               writer_, buffers, progress_, stop_);
        if (!catalogue_.store().get(plan_.snapshot_key, receiver, get)) {
            catalogue_.vanished(plan_.snapshot_key);
            throw PlanAgain();
        }
        if (!receiver.complete())
            throw Error(ErrorKind::data, "cut short");
        writer_.start_writeback(first_page_[run.first],
                                receiver.next_page() - first_page_[run.first]);
        std::lock_guard lock(mutex_);
        bytes_ += get.range->length;
    }

    ReplicaCatalogue& catalogue_;
    const RestorePlan& plan_;
    const std::vector<SeekEntry>& frames_;
    PageWriter& writer_;
    Progress& progress_;
    const std::stop_token stop_;
    std::vector<char> needed_;
    std::vector<std::uint32_t> first_page_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<FrameBuffers>> free_;
    std::uint64_t bytes_ = 0;
    std::size_t largest_ = 0; ///< frame, compressed
};

} // namespace

std::uint64_t fetch_snapshot(ReplicaCatalogue& catalogue, const RestorePlan& plan,
                             PageWriter& writer, int jobs, Progress& progress,
                             std::stop_token stop) {
    return SnapshotFetch(catalogue, plan, writer, progress, std::move(stop)).run(jobs);
}

} // namespace zl
