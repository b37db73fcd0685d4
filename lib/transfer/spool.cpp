#include "transfer/spool.hpp"

#include "base/error.hpp"
#include "layer/layer_checker.hpp"
#include "layer/layer_reader.hpp"
#include "layer/tar_scanner.hpp"
#include "stream/hash.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace zl {

namespace {

constexpr std::size_t kStep = 1 << 20;

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

/// Runs a consumer on another thread, two buffers deep, so that hashing and writing overlap.
class Overlap {
public:
    explicit Overlap(std::function<void(Bytes)> consume)
        : consume_(std::move(consume)), thread_([this] { loop(); }) {}
    ~Overlap() {
        close();
        if (thread_.joinable())
            thread_.join();
    }
    /// The consumer gets @p buffer; another one, free to use, takes its place.
    void hand_over(std::vector<std::byte>& buffer, std::size_t size) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !full_; });
        if (error_)
            std::rethrow_exception(error_);
        std::swap(buffer, buffer_);
        buffer.resize(kStep);
        size_ = size;
        full_ = true;
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
        std::vector<std::byte> mine(kStep);
        for (;;) {
            std::size_t n = 0;
            {
                std::unique_lock lock(mutex_);
                changed_.wait(lock, [&] { return full_ || closed_; });
                if (!full_)
                    return;
                std::swap(mine, buffer_);
                n = size_;
                full_ = false;
                changed_.notify_all();
            }
            try {
                if (!error_)
                    consume_(Bytes(mine.data(), n));
            } catch (...) {
                std::lock_guard lock(mutex_);
                error_ = std::current_exception();
            }
        }
    }

    std::function<void(Bytes)> consume_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::byte> buffer_ = std::vector<std::byte>(kStep);
    std::size_t size_ = 0;
    bool full_ = false, closed_ = false;
    std::exception_ptr error_;
    std::thread thread_;
};

void copy_to_spool(Source& in, SpoolFile& spool, const std::function<void(Bytes)>& look) {
    Overlap overlap(look);
    std::vector<std::byte> buffer(kStep);
    for (;;) {
        std::size_t n = read_full(in, buffer);
        if (n) {
            spool.write(Bytes(buffer.data(), n));
            overlap.hand_over(buffer, n);
        }
        if (n < kStep)
            break;
    }
    overlap.finish();
}

SpoolResult spool_layer(Source& in, SpoolFile& spool) {
    LayerStreamChecker checker;
    copy_to_spool(in, spool, [&](Bytes b) { checker.write(b); });
    auto r = checker.finish();
    if (!r.trailer)
        throw Error(ErrorKind::data,
                    "the input has no layer trailer: its producer died, or zl-pack did not make it",
                    "a .tar.zst of another program is pushed with --foreign, best as "
                    "`zl-push --foreign -- CMD`");
    SpoolResult s;
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

SpoolResult spool_raw(Source& in, SpoolFile& spool) {
    Hasher hash;
    SpoolResult s;
    s.kind = LayerKind::raw;
    copy_to_spool(in, spool, [&](Bytes b) {
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
                        Progress& progress) {
    SpoolFile spool(fd, path, progress);
    progress.begin("spooling", std::nullopt);
    SpoolResult s = kind == LayerKind::layer     ? spool_layer(in, spool)
                    : kind == LayerKind::foreign ? spool_foreign(in, spool)
                                                 : spool_raw(in, spool);
    spool.sync();
    return s;
}

} // namespace zl
