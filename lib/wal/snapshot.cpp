#include "wal/snapshot.hpp"

#include "base/endian.hpp"
#include "stream/trailer.hpp"
#include "stream/zstd_stream.hpp"
#include "wal/header_json.hpp"
#include "wal/segment.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace zl {

namespace {

std::string header_line(const SnapshotHeader& h) {
    Json j;
    j["zl_snapshot"] = kReplicaFormat;
    j["db_id"] = h.db_id;
    j["generation"] = h.generation;
    j["writer"] = h.writer;
    j["host"] = header_text(h.host, 48);
    j["sequence"] = h.sequence;
    j["chain"] = h.chain.hex();
    j["time"] = format_rfc3339(h.time);
    j["created_at"] = format_rfc3339(h.created_at);
    j["page_size"] = h.page_size;
    j["page_count"] = h.page_count;
    j["checksum"] = hex16(h.checksum);
    j["body_size"] = h.body_size;
    j["body_sha256"] = h.body_sha256.hex();
    return dump_json(j);
}

SnapshotHeader parse_line(const std::string& line, const std::string& name) {
    HeaderFields f(parse_json(line, name), name);
    if (std::uint64_t format = f.number("zl_snapshot"); format != kReplicaFormat)
        throw Error(ErrorKind::data,
                    name + ": snapshot format " + std::to_string(format) + ", this zl reads " +
                        std::to_string(kReplicaFormat),
                    "use a newer zl; the data itself is a plain SQLite database in zstd");
    SnapshotHeader h;
    h.db_id = f.id("db_id");
    h.generation = f.id("generation");
    h.writer = f.id("writer");
    h.host = f.text("host");
    h.sequence = f.number("sequence");
    h.chain = f.digest("chain");
    h.time = f.time("time");
    h.created_at = f.time("created_at");
    h.page_size = f.number32("page_size");
    h.page_count = f.number32("page_count");
    h.checksum = f.hash("checksum");
    h.body_size = f.number("body_size");
    h.body_sha256 = f.digest("body_sha256");
    if (!valid_page_size(h.page_size))
        throw f.bad("page_size", std::to_string(h.page_size));
    if (h.page_count == 0)
        throw f.bad("page_count", "0");
    if (h.sequence == 0)
        throw f.bad("sequence", "0");
    if (header_line(h) != line)
        throw Error(ErrorKind::data, name + ": snapshot header is not in the form of format 1");
    return h;
}

// ---------------------------------------------------------------------------------------- writing

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
        for (int i = 0; i < threads; ++i)
            threads_.emplace_back([this, level, page_size] { work(level, page_size); });
    }
    ~Pool() {
        {
            std::lock_guard lock(mutex_);
            stop_ = true;
            waiting_.clear();
        }
        changed_.notify_all();
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

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
    std::vector<std::jthread> threads_; ///< last: they end before the rest goes
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
        std::string frame = skippable_frame(kSnapshotVariant, sealed(header_line(header_)));
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

// ---------------------------------------------------------------------------------------- reading

namespace {

/// Enough for the header and the seek table of a database of 8 GiB.
constexpr std::uint64_t kFirstTail = 68 << 10;

class IndexReader {
public:
    using Read = std::function<std::string(std::uint64_t, std::uint64_t)>;
    IndexReader(std::uint64_t size, std::string_view name, const Read& read)
        : size_(size), name_(name), read_(read) {}

    SnapshotIndex run() {
        fetch_tail(std::min(size_, kFirstTail));
        auto rows = tail_.size() < seek_table_frame_size(2)
                        ? std::nullopt
                        : decode_seek_footer(as_bytes(tail_).last(kSeekFooterSize));
        if (!rows)
            throw not_ours();
        std::uint64_t table = seek_table_frame_size(*rows);
        std::uint64_t header = get_le32(as_bytes(tail_).last(kSeekFooterSize + 8).data());
        if (*rows < 2 || header <= kSkippableHeaderSize || header > kMaxSnapshotHeader ||
            table + header > size_)
            throw bad("its seek table is no snapshot's");
        SnapshotIndex index;
        index.header = decode_header(table, header);
        check_sizes(index.header, *rows, table + header);
        // Only now is the table known to be as large as the object needs.
        if (table + header > tail_.size())
            fetch_tail(table + header);
        index.frames = decode_seek_table(as_bytes(tail_).last(static_cast<std::size_t>(table)));
        check_frames(index);
        return index;
    }

private:
    Error bad(const std::string& why) const { return Error(ErrorKind::data, name_ + ": " + why); }

    std::string fetch(std::uint64_t offset, std::uint64_t n) const {
        std::string text = n ? read_(offset, n) : std::string();
        if (text.size() != n)
            throw bad("got " + std::to_string(text.size()) + " bytes of " + std::to_string(n));
        return text;
    }
    void fetch_tail(std::uint64_t n) { tail_ = fetch(size_ - n, n); }

    Error not_ours() const {
        std::string start = fetch(0, std::min<std::uint64_t>(size_, 4));
        if (start.size() == 4 && get_le32(as_bytes(start).data()) == kZstdMagic)
            return bad("no zl snapshot, or the end of one is missing: a zstd file without a seek "
                       "table at its end")
                .with_hint(kZLayerHint);
        return bad("no zl snapshot: it starts with " + to_hex(as_bytes(start)) +
                   " and ends without a seek table");
    }

    SnapshotHeader decode_header(std::uint64_t table, std::uint64_t size) const {
        std::string frame;
        if (table + size <= tail_.size())
            frame = tail_.substr(tail_.size() - static_cast<std::size_t>(table + size),
                                 static_cast<std::size_t>(size));
        else
            frame = fetch(size_ - table - size, size);
        Bytes bytes = as_bytes(frame);
        if (get_le32(bytes.data()) != kSkippableMagic + kSnapshotVariant ||
            get_le32(bytes.data() + 4) != size - kSkippableHeaderSize)
            throw bad("no zl snapshot: no header before its seek table");
        auto line = unsealed(as_text(bytes.subspan(kSkippableHeaderSize)));
        if (!line || line->size() + kSealSize + kSkippableHeaderSize != size)
            throw bad("snapshot header: checksum does not match");
        return parse_line(*line, name_);
    }

    void check_sizes(const SnapshotHeader& h, std::uint64_t rows, std::uint64_t end) const {
        std::uint64_t bytes = std::uint64_t{h.page_count} * h.page_size;
        std::uint64_t frames = (bytes + kSnapshotFrameSize - 1) / kSnapshotFrameSize;
        if (rows != frames + 1)
            throw bad(std::to_string(rows) + " rows in its seek table, expected " +
                      std::to_string(frames + 1));
        if (h.body_size != size_ - end)
            throw bad("body of " + std::to_string(size_ - end) + " bytes, its header says " +
                      std::to_string(h.body_size));
    }

    /// Drops the row of the header frame.
    void check_frames(SnapshotIndex& index) const {
        std::vector<SeekEntry>& frames = index.frames;
        if (frames.back().content_size != 0)
            throw bad("its header frame has content");
        frames.pop_back();
        std::uint64_t left = std::uint64_t{index.header.page_count} * index.header.page_size;
        std::uint64_t compressed = 0;
        for (const SeekEntry& f : frames) {
            if (f.content_size != std::min<std::uint64_t>(left, kSnapshotFrameSize) ||
                f.compressed_size == 0)
                throw bad("a frame of " + std::to_string(f.content_size) + " bytes in " +
                          std::to_string(f.compressed_size) + " in its seek table");
            left -= f.content_size;
            compressed += f.compressed_size;
        }
        if (compressed != index.header.body_size)
            throw bad("its frames are " + std::to_string(compressed) + " bytes, its header says " +
                      std::to_string(index.header.body_size));
    }

    std::uint64_t size_;
    std::string name_;
    const Read& read_;
    std::string tail_;
};

} // namespace

SnapshotIndex
read_snapshot_index(std::uint64_t size, std::string_view name,
                    const std::function<std::string(std::uint64_t offset, std::uint64_t n)>& read) {
    return IndexReader(size, name, read).run();
}

} // namespace zl
