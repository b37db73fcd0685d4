#include "wal/restore_job.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/parallel.hpp"
#include "stream/zstd_stream.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <mutex>

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

} // namespace

RestoreJob::RestoreJob(ReplicaCatalogue& catalogue, const Restorer::Options& options, Log& log,
                       Progress& progress, std::stop_token stop, std::string directory)
    : catalogue_(catalogue), options_(options), log_(log), progress_(progress),
      stop_(std::move(stop)), directory_(std::move(directory)) {
    spool_ = std::make_unique<SegmentSpool>(catalogue_, spool_path(), progress_, stop_);
}

/// Better said before than after an hour.
void RestoreJob::require_space(std::uint64_t size) {
    struct statvfs fs {};
    if (::statvfs(directory_.c_str(), &fs) != 0)
        return;
    const std::uint64_t available = std::uint64_t{fs.f_bavail} * fs.f_frsize;
    if (available < size)
        throw Error(ErrorKind::io, directory_ + ": no space left on device: " + format_size(size) +
                                       " are needed, " + format_size(available) + " are free");
}

/// A snapshot with segments behind it is tied to the chain by the first of them. Without any, its
/// own last segment does that, if it is still there.
void RestoreJob::tie_snapshot(const RestorePlan& plan) {
    const SnapshotHeader& snapshot = plan.snapshot.header;
    std::optional<SegmentHeader> h;
    try {
        h = get_segment_header(catalogue_.store(), catalogue_.keys().segment(snapshot.sequence));
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
    }
    if (!h || (h->id() == snapshot.chain && h->checksum_after == snapshot.checksum))
        return;
    catalogue_.exclude(plan.snapshot_key, catalogue_.store().describe(plan.snapshot_key) +
                                              ": is not of the state that segment " +
                                              std::to_string(snapshot.sequence) + " leads to");
    throw PlanAgain();
}

SegmentLink RestoreJob::follow_chain(const RestorePlan& plan) {
    if (plan.segments.empty())
        tie_snapshot(plan);
    SegmentLink last = link_of(plan.snapshot.header);
    for (const PlannedSegment& s : plan.segments) {
        const SegmentLink& next = spool_->link(s.key);
        if (std::string why = why_not_next(last, next); !why.empty()) {
            catalogue_.exclude(s.key, catalogue_.store().describe(s.key) +
                                          ": does not follow what is before it: " + why);
            throw PlanAgain();
        }
        last = next;
    }
    return last;
}

std::uint64_t RestoreJob::fetch_frames(const RestorePlan& plan, PageWriter& writer,
                                       std::size_t first, std::size_t end,
                                       const std::vector<char>& needed) {
    const std::vector<SeekEntry>& frames = plan.snapshot.frames;
    GetOptions get;
    get.range.emplace();
    std::uint64_t content = 0;
    for (std::size_t i = 0; i < end; ++i) {
        (i < first ? get.range->offset : get.range->length) += frames[i].compressed_size;
        content += i < first ? frames[i].content_size : 0;
    }
    FrameReceiver receiver(frames, first, end, needed,
                           static_cast<std::uint32_t>(content / writer.page_size()) + 1, writer,
                           progress_, stop_);
    if (!catalogue_.store().get(plan.snapshot_key, receiver, get)) {
        catalogue_.vanished(plan.snapshot_key);
        throw PlanAgain();
    }
    if (!receiver.complete())
        throw Error(ErrorKind::data, "cut short");
    return get.range->length;
}

void RestoreJob::write_snapshot_pages(const RestorePlan& plan, PageWriter& writer) {
    const std::vector<SeekEntry>& frames = plan.snapshot.frames;
    std::vector<char> needed(frames.size());
    std::uint64_t page = 1;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        if (frames[i].content_size % writer.page_size() != 0)
            throw Error(ErrorKind::data,
                        "frame " + std::to_string(i) + " does not hold whole pages");
        const std::uint32_t count = frames[i].content_size / writer.page_size();
        needed[i] =
            page <= writer.page_count() && writer.needs(static_cast<std::uint32_t>(page), count);
        page += count;
    }
    const auto runs = runs_of(frames, needed, kSnapshotRange);
    std::mutex mutex;
    // More threads than this only cost memory (two frames each).
    parallel_for(runs.size(), std::min(options_.jobs, 16), [&](std::size_t i) {
        const std::uint64_t n = fetch_frames(plan, writer, runs[i].first, runs[i].end, needed);
        std::lock_guard lock(mutex);
        snapshot_bytes_ += n;
    });
}

RestoreOutcome RestoreJob::run(const RestorePlan& plan) {
    progress_.begin("fetching", plan.bytes);
    const SnapshotHeader& snapshot = plan.snapshot.header;
    require_space(plan.bytes - plan.snapshot_size +
                  std::uint64_t{snapshot.page_size} * snapshot.page_count);
    spool_->fetch(plan.segments, options_.jobs);
    const SegmentLink target = follow_chain(plan);
    crash_point("restore.fetched");

    UniqueFd fd = open_file(db_path(), O_RDWR | O_CREAT | O_TRUNC, 0666);
    require_space(std::uint64_t{target.page_size} * target.page_count);
    PageWriter writer(fd.get(), db_path(), target.page_size, target.page_count);
    for (auto s = plan.segments.rbegin(); s != plan.segments.rend(); ++s) {
        if (stop_.stop_requested())
            throw Interrupted();
        spool_->read(*s, [&](std::uint32_t page, Bytes data) { writer.segment_page(page, data); });
    }
    crash_point("restore.writing");
    try {
        write_snapshot_pages(plan, writer);
        const DbChecksum sum = writer.finish(snapshot.page_count);
        if (sum != target.after)
            throw Error(ErrorKind::data, "the database rebuilt from it has checksum " +
                                             std::to_string(sum) + ", expected " +
                                             std::to_string(target.after));
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        const std::string name = catalogue_.store().describe(plan.snapshot_key);
        catalogue_.exclude(plan.snapshot_key,
                           e.message().starts_with(name) ? e.message() : name + ": " + e.message());
        throw PlanAgain();
    }
    fd.close_checked(db_path());

    reached_ = target;
    RestoreOutcome out;
    out.generation = plan.generation;
    out.sequence = plan.sequence;
    out.time = plan.time;
    out.page_size = target.page_size;
    out.page_count = target.page_count;
    out.pages_written = writer.pages_written();
    out.segments = plan.segments.size();
    out.bytes_fetched = spool_->bytes_fetched() + snapshot_bytes_;
    return out;
}

} // namespace zl
