#include "layer/layer_reader.hpp"

#include "base/error.hpp"
#include "base/thread_pool.hpp"

#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace zl {

namespace {

/// Frames up to this content are decompressed whole, in parallel; ours are below 16 MiB.
constexpr std::uint64_t kMaxWholeFrame = 32 << 20;
/// No honest frame is larger than its content plus this.
constexpr std::uint64_t kFrameSlack = 1 << 20;
/// Budget of bytes that wait or are being worked on; one job is always allowed.
constexpr std::uint64_t kMaxUnderWay = 64 << 20;
/// What a job takes beside its bytes: an empty frame has 9.
constexpr std::uint64_t kJobOverhead = 512;

Error bad(const std::string& why) {
    return Error(ErrorKind::data, "layer stream: " + why);
}

/// A whole frame, decompressed by a worker, or a piece of one that is streamed by the reader
/// itself.
struct Job {
    bool whole = false;
    std::vector<std::byte> compressed;
    std::uint64_t content_size = 0;
    std::vector<std::byte> content;
    bool ready = false;  ///< content is there
    bool hashed = false; ///< and went into the digest
    bool consumed = false;
    bool ends_frame = false;
    std::uint64_t cost() const { return compressed.size() + content_size + kJobOverhead; }
};
using JobPtr = std::shared_ptr<Job>;

} // namespace

/// Threads: feeder (input -> checker -> jobs), workers (decompress whole frames), hasher (digest,
/// in order), and the caller (read()), which takes jobs in order and streams the pieces itself.
struct LayerStreamReader::Impl final : LayerStreamChecker::Observer {
    Impl(Source& source, Options o) : in(source), options(o), checker(this) {
        unsigned n =
            options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
        const auto decompress = [this] { guard([this] { decompress_loop(); }); };
        pool.add([this] { guard([this] { feed_loop(); }); });
        pool.add([this] { guard([this] { hash_loop(); }); });
        pool.add(decompress);
        pool.add_up_to(n - 1, decompress);
    }

    void stop() {
        {
            std::lock_guard lock(mutex);
            stopping = true;
            changed.notify_all();
        }
        if (!fed)
            in.cancel();
    }

    template <typename F>
    void guard(F work) noexcept {
        try {
            work();
        } catch (...) {
            std::lock_guard lock(mutex);
            if (!error)
                error = std::current_exception();
            stopping = true;
            changed.notify_all();
        }
    }

    void feed_loop() {
        std::vector<std::byte> buffer(1 << 20);
        while (std::size_t n = in.read(buffer))
            checker.write(Bytes(buffer.data(), n));
        verdict = checker.finish();
        std::lock_guard lock(mutex);
        fed = true;
        changed.notify_all();
    }

    // Observer: on the feeder's thread
    void data(const FrameHeader& header, Bytes bytes, bool first) override {
        if (first) {
            filling = std::make_shared<Job>();
            filling->whole = header.content_size && *header.content_size <= kMaxWholeFrame;
            if (filling->whole)
                filling->content_size = *header.content_size;
            if (header.content_size)
                check_size(announced += *header.content_size);
        }
        if (filling->whole) {
            if (filling->compressed.size() + bytes.size() > filling->content_size + kFrameSlack)
                throw bad("a frame is larger than its content");
            filling->compressed.insert(filling->compressed.end(), bytes.begin(), bytes.end());
        } else {
            filling->compressed.assign(bytes.begin(), bytes.end());
            hand_over(false);
        }
    }
    void frame_end() override { hand_over(true); }

    void hand_over(bool ends_frame) {
        JobPtr job = std::move(filling);
        filling = std::make_shared<Job>();
        job->ends_frame = ends_frame;
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] {
            return stopping || under_way == 0 || under_way + job->cost() <= kMaxUnderWay;
        });
        if (stopping)
            throw Interrupted();
        under_way += job->cost();
        if (job->whole)
            to_decompress.push_back(job);
        to_hash.push_back(job);
        in_order.push_back(std::move(job));
        changed.notify_all();
    }

    void check_size(std::uint64_t bytes) const {
        if (bytes > options.max_size)
            throw Error(ErrorKind::data,
                        "the tar is larger than " + std::to_string(options.max_size) + " bytes",
                        "--max-size is the limit; raise it if this layer may be that large");
    }

    JobPtr next(std::deque<JobPtr>& queue) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stopping || fed || !queue.empty(); });
        if (stopping || queue.empty())
            return nullptr;
        JobPtr job = queue.front();
        queue.pop_front();
        return job;
    }

    void decompress_loop() {
        FrameDecompressor zstd;
        while (JobPtr job = next(to_decompress)) {
            zstd.decompress(job->compressed, job->content_size, job->content);
            std::lock_guard lock(mutex);
            job->ready = true;
            changed.notify_all();
        }
    }

    void hash_loop() {
        while (JobPtr job = next(to_hash)) {
            {
                // A streamed piece is hashed by the caller while it is read: wait for that.
                std::unique_lock lock(mutex);
                changed.wait(lock,
                             [&] { return stopping || (job->whole ? job->ready : job->hashed); });
                if (stopping)
                    return;
            }
            if (!job->whole)
                continue;
            hash.update(job->content);
            std::lock_guard lock(mutex);
            job->hashed = true;
            ++hashed_jobs;
            if (job->consumed)
                under_way -= job->cost();
            changed.notify_all();
        }
    }

    std::size_t read(std::span<std::byte> buffer) {
        for (;;) {
            if (!current && !take_job())
                return 0;
            std::size_t n = current->whole ? read_whole(buffer) : read_piece(buffer);
            if (n) {
                size += n;
                check_size(size);
                return n;
            }
            release();
        }
    }

    /// The next job in order, ready to be read; false at the end.
    bool take_job() {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] {
            if (error || stopping)
                return true;
            if (in_order.empty())
                return fed.load();
            const Job& j = *in_order.front();
            // A piece is hashed here, so all jobs before it must have been hashed by then.
            return j.whole ? j.ready : hashed_jobs == taken_jobs;
        });
        if (error)
            std::rethrow_exception(error);
        if (stopping)
            throw Interrupted();
        if (in_order.empty())
            return false;
        current = in_order.front();
        in_order.pop_front();
        ++taken_jobs;
        position = 0;
        piece_left = current->compressed;
        return true;
    }

    std::size_t read_whole(std::span<std::byte> buffer) {
        std::size_t n = std::min(buffer.size(), current->content.size() - position);
        std::memcpy(buffer.data(), current->content.data() + position, n);
        position += n;
        return n;
    }

    std::size_t read_piece(std::span<std::byte> buffer) {
        std::size_t n = stream_zstd.step(piece_left, buffer);
        hash.update(Bytes(buffer.data(), n));
        return n;
    }

    void release() {
        std::lock_guard lock(mutex);
        if (!current->whole) {
            current->hashed = true;
            ++hashed_jobs;
        }
        // The hasher may be behind, and holds the bytes until then.
        current->consumed = true;
        if (current->hashed)
            under_way -= current->cost();
        changed.notify_all();
        current.reset();
    }

    Source& in;
    const Options options;

    // Feeder
    LayerStreamChecker checker;
    JobPtr filling;
    std::uint64_t announced = 0;

    // Shared
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<JobPtr> to_decompress, to_hash, in_order;
    std::uint64_t under_way = 0;
    std::uint64_t hashed_jobs = 0, taken_jobs = 0;
    bool stopping = false;
    std::atomic<bool> fed = false;
    std::exception_ptr error;
    std::optional<LayerStreamChecker::Result> verdict;

    // Caller (and the hasher: never both at a time)
    JobPtr current;
    std::size_t position = 0;
    Bytes piece_left;
    StreamDecompressor stream_zstd;
    Hasher hash;
    std::uint64_t size = 0;

    ThreadPool pool{[this] { stop(); }};
};

LayerStreamReader::LayerStreamReader(Source& in, Options options)
    : impl_(std::make_unique<Impl>(in, options)) {}
LayerStreamReader::~LayerStreamReader() = default;

std::size_t LayerStreamReader::read(std::span<std::byte> buffer) {
    return impl_->read(buffer);
}

LayerStreamReader::Result LayerStreamReader::finish() {
    Impl& m = *impl_;
    std::vector<std::byte> rest(1 << 16);
    while (m.read(rest)) {
    }
    {
        std::unique_lock lock(m.mutex);
        m.changed.wait(lock,
                       [&] { return m.error || m.stopping || m.hashed_jobs == m.taken_jobs; });
        if (m.error)
            std::rethrow_exception(m.error);
    }
    m.pool.end();
    Result r;
    r.trailer = m.verdict->trailer;
    r.digest = m.hash.finish();
    r.size_bytes = m.size;
    r.blob_sha256 = m.verdict->blob_sha256;
    r.blob_size = m.verdict->blob_size;
    if (!r.trailer && !m.options.foreign)
        throw Error(ErrorKind::data,
                    "layer stream: no trailer: its producer died, or it is no zl layer",
                    "a tar.zst made by other tools is taken with --foreign");
    if (r.trailer && (r.trailer->digest != r.digest || r.trailer->size_bytes != r.size_bytes))
        throw bad("its content is sha256:" + r.digest.hex() + " (" + std::to_string(r.size_bytes) +
                  " bytes), the trailer says sha256:" + r.trailer->digest.hex());
    return r;
}

} // namespace zl
