#include "transfer/spool.hpp"

#include "base/error.hpp"
#include "layer/layer_checker.hpp"
#include "layer/layer_reader.hpp"
#include "layer/tar_scanner.hpp"
#include "stream/hash.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace zl {

namespace {

constexpr std::size_t kStep = 512 << 10;

/// Writes to the spool; starts the write-back early so that the fdatasync at the end is short.
class SpoolFile {
public:
    SpoolFile(int fd, const std::string& path, Progress& progress)
        : fd_(fd), path_(path), progress_(progress) {}

    void write(Bytes data) {
        write_full(fd_, data, path_);
        size_ += data.size();
        progress_.advance(static_cast<std::int64_t>(data.size()));
        if (size_ - flushed_ >= kFlush) {
            ::sync_file_range(fd_, static_cast<off_t>(flushed_),
                              static_cast<off_t>(size_ - flushed_), SYNC_FILE_RANGE_WRITE);
            flushed_ = size_;
        }
    }
    void sync() {
        if (::fdatasync(fd_) != 0)
            throw sys_error("sync " + path_).with_kind(ErrorKind::io);
        fsync_dir(dir_name(path_));
    }

private:
    static constexpr std::uint64_t kFlush = 32 << 20;
    int fd_;
    const std::string& path_;
    Progress& progress_;
    std::uint64_t size_ = 0;
    std::uint64_t flushed_ = 0;
};

/// Runs a consumer on another thread, so that hashing and writing overlap.
class Overlap {
public:
    /// What was given and not yet consumed, at most: the giver uses so many buffers and one more.
    static constexpr std::size_t kDepth = 8;

    explicit Overlap(std::function<void(Bytes)> consume)
        : consume_(std::move(consume)), thread_([this] { loop(); }) {}
    ~Overlap() {
        close();
        if (thread_.joinable())
            thread_.join();
    }
    /// @p data stays as it is until kDepth further calls have returned, or finish().
    void give(Bytes data) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return queue_.size() < kDepth; });
        if (error_)
            std::rethrow_exception(error_);
        queue_.push_back(data);
        changed_.notify_all();
    }
    /// Waits until all was consumed; rethrows what the consumer threw.
    void finish() {
        close();
        thread_.join();
        if (error_)
            std::rethrow_exception(error_);
    }

private:
    void close() {
        std::lock_guard lock(mutex_);
        closed_ = true;
        changed_.notify_all();
    }
    void loop() noexcept {
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [&] { return closed_ || !queue_.empty(); });
            if (queue_.empty())
                return;
            Bytes data = queue_.front();
            bool failed = error_ != nullptr;
            lock.unlock();
            std::exception_ptr error;
            try {
                if (!failed)
                    consume_(data);
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            if (error)
                error_ = error;
            queue_.pop_front();
            changed_.notify_all();
        }
    }

    std::function<void(Bytes)> consume_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Bytes> queue_; ///< the first one is being consumed
    bool closed_ = false;
    std::exception_ptr error_;
    std::thread thread_;
};

/// SHA-256 of each part of a stream.
class PartHasher {
public:
    explicit PartHasher(std::uint64_t part_size) : part_size_(part_size) {}
    void write(Bytes data) {
        while (!data.empty()) {
            auto n = static_cast<std::size_t>(
                std::min<std::uint64_t>(data.size(), part_size_ - in_part_));
            hash_.update(data.first(n));
            data = data.subspan(n);
            if ((in_part_ += n) == part_size_)
                end_part();
        }
    }
    std::vector<std::string> finish() {
        if (in_part_)
            end_part();
        return std::move(done_);
    }

private:
    void end_part() {
        done_.push_back(hash_.finish_hex());
        hash_ = Hasher();
        in_part_ = 0;
    }
    std::uint64_t part_size_;
    std::uint64_t in_part_ = 0;
    Hasher hash_;
    std::vector<std::string> done_;
};

/// Returns the hashes of the parts; @p look sees all bytes, in order, on a thread of its own.
std::vector<std::string> copy_to_spool(Source& in, SpoolFile& spool, std::uint64_t part_size,
                                       const std::function<void(Bytes)>& look) {
    std::array<std::vector<std::byte>, Overlap::kDepth + 1> buffers; // they outlive the threads
    PartHasher parts(part_size);
    std::optional<Overlap> hashing;
    if (part_size)
        hashing.emplace([&](Bytes b) { parts.write(b); });
    Overlap looking(look);
    for (std::size_t turn = 0;; turn = (turn + 1) % buffers.size()) {
        buffers[turn].resize(kStep);
        std::size_t n = read_full(in, buffers[turn]);
        Bytes data(buffers[turn].data(), n);
        if (n) {
            looking.give(data);
            if (hashing)
                hashing->give(data);
            spool.write(data);
        }
        if (n < kStep)
            break;
    }
    looking.finish();
    if (hashing)
        hashing->finish();
    return parts.finish();
}

SpoolResult spool_layer(Source& in, SpoolFile& spool, std::uint64_t part_size) {
    LayerStreamChecker checker;
    SpoolResult s;
    s.part_sha256 = copy_to_spool(in, spool, part_size, [&](Bytes b) { checker.write(b); });
    auto r = checker.finish();
    if (!r.trailer)
        throw Error(ErrorKind::data,
                    "the input has no layer trailer: its producer died, or zl-pack did not make it",
                    "a .tar.zst of another program is pushed with --foreign, best as "
                    "`zl-push --foreign -- CMD`");
    s.digest = r.trailer->digest.hex();
    s.blob_sha256 = r.blob_sha256.hex();
    s.blob_size = r.blob_size;
    s.size_bytes = r.trailer->size_bytes;
    s.file_count = r.trailer->file_count;
    s.incomplete = r.trailer->incomplete;
    return s;
}

/// Copies to the spool what the layer reader reads.
class TeeSource final : public Source {
public:
    TeeSource(Source& in, SpoolFile& spool) : in_(in), spool_(spool) {}
    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t n = in_.read(buffer);
        spool_.write(Bytes(buffer.data(), n));
        return n;
    }
    void cancel() noexcept override { in_.cancel(); }

private:
    Source& in_;
    SpoolFile& spool_;
};

SpoolResult spool_foreign(Source& in, SpoolFile& spool) {
    TeeSource tee(in, spool);
    LayerStreamReader reader(tee, {.foreign = true});
    TarScanner tar;
    std::vector<std::byte> buffer(kStep);
    while (std::size_t n = reader.read(buffer))
        tar.write(Bytes(buffer.data(), n));
    auto r = reader.finish();
    tar.finish();
    SpoolResult s;
    s.digest = r.digest.hex();
    s.blob_sha256 = r.blob_sha256.hex();
    s.blob_size = r.blob_size;
    s.size_bytes = r.size_bytes;
    s.file_count = tar.entries();
    s.kind = r.trailer ? LayerKind::layer : LayerKind::foreign;
    s.incomplete = r.trailer && r.trailer->incomplete;
    return s;
}

SpoolResult spool_raw(Source& in, SpoolFile& spool, std::uint64_t part_size) {
    Hasher hash;
    SpoolResult s;
    s.kind = LayerKind::raw;
    s.part_sha256 = copy_to_spool(in, spool, part_size, [&](Bytes b) {
        hash.update(b);
        s.blob_size += b.size();
    });
    if (s.blob_size == 0)
        throw Error(ErrorKind::data, "the input is empty");
    s.digest = s.blob_sha256 = hash.finish().hex();
    s.size_bytes = s.blob_size;
    return s;
}

} // namespace

const char* kind_name(LayerKind kind) {
    switch (kind) {
    case LayerKind::layer:
        return "layer";
    case LayerKind::foreign:
        return "foreign";
    case LayerKind::raw:
        return "raw";
    }
    return "layer";
}

LayerKind kind_from_name(const std::string& name) {
    if (name == "raw")
        return LayerKind::raw;
    return name == "foreign" ? LayerKind::foreign : LayerKind::layer;
}

SpoolResult spool_input(Source& in, int fd, const std::string& path, LayerKind kind,
                        Progress& progress, std::uint64_t part_size) {
    SpoolFile spool(fd, path, progress);
    progress.begin("spooling", std::nullopt);
    SpoolResult s = kind == LayerKind::layer     ? spool_layer(in, spool, part_size)
                    : kind == LayerKind::foreign ? spool_foreign(in, spool)
                                                 : spool_raw(in, spool, part_size);
    spool.sync();
    return s;
}

} // namespace zl
