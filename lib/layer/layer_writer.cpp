#include "layer/layer_writer.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/thread_pool.hpp"
#include "layer/chunker.hpp"
#include "stream/seek_table.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace zl {

namespace {

/// One data frame on its way: filled by the caller, hashed and compressed side by side, then
/// written.
struct Frame {
    std::vector<std::byte> tar;
    std::vector<std::byte> buffer; ///< for the frame; recycled, so it is not shrunk and grown
    std::size_t compressed_size = 0;
    Bytes compressed() const { return Bytes(buffer).first(compressed_size); }
    bool is_hashed = false, is_compressed = false;
};
using FramePtr = std::shared_ptr<Frame>;

constexpr std::byte kZeroBlocks[1024] = {};

} // namespace

struct LayerStreamWriter::Impl {
    Impl(Sink& sink, int compression_level, unsigned threads)
        : out(sink), level(compression_level),
          workers(threads ? threads : std::max(1u, std::thread::hardware_concurrency())) {
        pool.add([this] { guard([this] { hash_loop(); }); });
        pool.add([this] { guard([this] { write_loop(); }); });
        pool.add([this] { guard([this] { compress_loop(); }); });
        current = std::make_shared<Frame>();
    }

    void stop() {
        std::lock_guard lock(mutex);
        stopping = true;
        changed.notify_all();
    }

    /// A worker's exception ends all workers and comes out of the caller's next call.
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

    /// Front of @p queue, or null at the end.
    FramePtr next(std::deque<FramePtr>& queue) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stopping || ended || !queue.empty(); });
        if (stopping || queue.empty())
            return nullptr;
        FramePtr f = queue.front();
        queue.pop_front();
        return f;
    }

    void compress_loop() {
        FrameCompressor zstd(level);
        while (FramePtr f = next(to_compress)) {
            f->compressed_size = zstd.compress_into(f->tar, f->buffer);
            done(*f, f->is_compressed);
        }
    }

    void hash_loop() {
        while (FramePtr f = next(to_hash)) {
            tar_hash.update(f->tar);
            done(*f, f->is_hashed);
        }
    }

    void done(Frame& f, bool& flag) {
        std::lock_guard lock(mutex);
        flag = true;
        if (f.is_hashed && f.is_compressed)
            changed.notify_all();
    }

    void write_loop() {
        while (FramePtr f = next(to_write)) {
            {
                std::unique_lock lock(mutex);
                changed.wait(lock, [&] { return stopping || (f->is_hashed && f->is_compressed); });
                if (stopping)
                    return;
            }
            emit(f->compressed(), static_cast<std::uint32_t>(f->tar.size()));
            f->tar.clear();
            f->is_hashed = f->is_compressed = false;
            std::lock_guard lock(mutex);
            free.push_back(std::move(f));
            --under_way;
            changed.notify_all();
        }
    }

    void emit(Bytes compressed, std::uint32_t content_size) {
        blob_hash.update(compressed);
        out.write(compressed);
        rows.push_back({static_cast<std::uint32_t>(compressed.size()), content_size});
        blob_size += compressed.size();
    }

    void cut() {
        if (current->tar.empty())
            return;
        // One by one: where threads are few, those that others cannot do without were made by now.
        if (frames > 0 && pool.size() < 2 + workers)
            pool.add_up_to(1, [this] { guard([this] { compress_loop(); }); });
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stopping || under_way < workers + 2; });
        rethrow();
        ++under_way;
        to_compress.push_back(current);
        to_hash.push_back(current);
        to_write.push_back(current);
        changed.notify_all();
        ++frames;
        if (free.empty()) {
            current = std::make_shared<Frame>();
        } else {
            current = std::move(free.back());
            free.pop_back();
        }
    }

    /// With the mutex held.
    void rethrow() {
        if (error)
            std::rethrow_exception(error);
        if (stopping)
            throw Interrupted();
    }

    void append(Bytes tar) {
        current->tar.insert(current->tar.end(), tar.begin(), tar.end());
        tar_size += tar.size();
    }

    void write_big(Bytes tar) {
        while (!tar.empty()) {
            std::size_t n = chunker.take(tar);
            append(tar.first(n));
            tar = tar.subspan(n);
            if (chunker.cut()) {
                cut();
                chunker.start_frame();
            }
        }
    }

    Sink& out;
    const int level;
    const unsigned workers;

    // The caller's thread
    FramePtr current;
    std::uint64_t frames = 0;
    std::uint64_t tar_size = 0;
    TocWriter toc;
    TocEntry entry;
    std::uint64_t entry_tar_size = 0;
    std::uint64_t entry_end = 0; ///< tar offset where the entry must end
    bool big = false;
    ContentChunker chunker;

    // Shared
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<FramePtr> to_compress, to_hash, to_write;
    std::vector<FramePtr> free;
    unsigned under_way = 0;
    bool stopping = false, ended = false;
    std::exception_ptr error;

    // One worker each
    Hasher tar_hash;
    Hasher blob_hash;
    std::uint64_t blob_size = 0;
    std::vector<SeekEntry> rows;

    ThreadPool pool{[this] { stop(); }};
};

LayerStreamWriter::LayerStreamWriter(Sink& out, int level, unsigned threads)
    : impl_(std::make_unique<Impl>(out, level, threads)) {}
LayerStreamWriter::~LayerStreamWriter() = default;

void LayerStreamWriter::begin_entry(const TocEntry& entry, std::uint64_t tar_size) {
    Impl& m = *impl_;
    m.big = has_own_frames(tar_size);
    if (m.big) {
        m.cut();
        m.chunker.start_frame();
    }
    m.entry = entry;
    m.entry.frame = m.frames;
    m.entry.offset = m.current->tar.size();
    m.entry_tar_size = tar_size;
    m.entry_end = m.tar_size + tar_size;
}

void LayerStreamWriter::write(Bytes tar) {
    if (impl_->big)
        impl_->write_big(tar);
    else
        impl_->append(tar);
}

void LayerStreamWriter::end_entry(const std::optional<Digest>& sha256) {
    Impl& m = *impl_;
    if (m.tar_size != m.entry_end)
        throw Error(ErrorKind::internal, "tar entry " + m.entry.path + " announced " +
                                             std::to_string(m.entry_tar_size) + " bytes, " +
                                             std::to_string(m.entry_end) +
                                             " != " + std::to_string(m.tar_size));
    if (sha256)
        m.entry.sha256 = *sha256;
    m.toc.add(m.entry);
    if (m.big || cut_after_entry(m.current->tar.size(), m.entry.path, m.entry_tar_size))
        m.cut();
}

std::uint64_t LayerStreamWriter::next_index() const {
    return impl_->toc.count();
}

Trailer LayerStreamWriter::finish(const Notes& notes) {
    Impl& m = *impl_;
    m.append(kZeroBlocks);
    m.cut();
    {
        std::unique_lock lock(m.mutex);
        m.changed.wait(lock, [&] { return m.stopping || m.under_way == 0; });
        m.rethrow();
        m.ended = true;
        m.changed.notify_all();
    }
    m.pool.join();

    Trailer t;
    t.digest = m.tar_hash.finish();
    t.size_bytes = m.tar_size;
    t.file_count = m.toc.count();
    t.data_frames = m.frames;
    t.data_bytes = m.blob_size;
    m.emit(as_bytes(skippable_frame(kTocVariant, m.toc.finish())), 0);
    t.before_bytes = m.blob_size;
    t.before_sha256 = m.blob_hash.peek();
    t.incomplete = notes.incomplete;
    t.skipped_count = notes.skipped_count;
    t.skipped = notes.skipped;
    if (t.skipped.size() > kMaxSkippedListed)
        t.skipped.resize(kMaxSkippedListed);
    m.emit(as_bytes(encode_trailer(t)), 0);
    m.out.write(as_bytes(encode_seek_table(m.rows)));
    m.out.finish();
    return t;
}

} // namespace zl
