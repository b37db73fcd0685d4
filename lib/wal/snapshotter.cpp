#include "wal/snapshotter.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <deque>
#include <future>

namespace zl {

namespace {

constexpr std::uint64_t kPartSize = 5 << 20; // the least that S3 takes: memory is parts
constexpr std::uint64_t kPartsAimedAt = 9000; // of 10,000
constexpr int kCompressionThreads = 2;

/// Cuts a stream into the parts of a multipart upload; what fits into one is put at once.
/// Memory: (jobs + 1) parts. Thread: one.
class UploadSink final : public Sink {
public:
    /// @p bound: the object is not larger.
    UploadSink(SnapshotUpload& upload, std::string key, std::uint64_t part_size,
               std::uint64_t bound)
        : upload_(upload), key_(std::move(key)), part_size_(part_size), bound_(bound) {
        options_.content_type = "application/zstd";
    }
    ~UploadSink() override {
        for (auto& part : in_flight_)
            part.wait();
        if (upload_id_.empty() || finished_)
            return;
        try {
            upload_.store.abort_upload(key_, upload_id_);
            upload_.state.end_upload(upload_id_);
        } catch (...) { // its row stays: the next start aborts it
        }
    }

    void write(Bytes data) override {
        while (!data.empty()) {
            if (part_.empty()) // growing by doubling would take twice the memory
                part_.reserve(std::min(part_size_, bound_));
            const std::size_t n = std::min<std::size_t>(data.size(), part_size_ - part_.size());
            part_.append(as_text(data.first(n)));
            data = data.subspan(n);
            total_ += n;
            if (part_.size() == part_size_)
                send();
        }
    }

    void finish() override {
        if (upload_id_.empty()) {
            upload_.store.put(key_, MemoryBody(std::move(part_)), options_);
        } else {
            if (!part_.empty())
                send();
            while (!in_flight_.empty())
                settle();
            complete();
        }
        finished_ = true;
    }
    std::uint64_t total() const { return total_; }

private:
    void send() {
        if (upload_id_.empty()) {
            upload_id_ = upload_.store.create_upload(key_, options_);
            upload_.state.begin_upload(key_, upload_id_);
            crash_point("snapshot.uploading");
        }
        while (in_flight_.size() >= static_cast<std::size_t>(upload_.jobs))
            settle();
        const int number = ++last_number_;
        in_flight_.push_back(
            std::async(std::launch::async, [this, number, body = std::move(part_)]() mutable {
                PartInfo part;
                part.number = number;
                part.size = body.size();
                part.etag = upload_.store.upload_part(key_, upload_id_, number,
                                                      MemoryBody(std::move(body)));
                return part;
            }));
        part_ = {};
    }

    void settle() {
        auto first = std::move(in_flight_.front());
        in_flight_.pop_front();
        parts_.push_back(first.get());
    }

    /// The reply may be lost; then the object itself tells.
    void complete() {
        try {
            upload_.store.complete_upload(key_, upload_id_, parts_);
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::transient && e.kind() != ErrorKind::gone)
                throw;
            auto there = upload_.store.head(key_);
            if (!there || there->size != total_)
                throw;
        }
        upload_.state.end_upload(upload_id_);
    }

    SnapshotUpload& upload_;
    std::string key_;
    std::uint64_t part_size_, bound_;
    PutOptions options_;
    std::string part_, upload_id_;
    std::deque<std::future<PartInfo>> in_flight_;
    std::vector<PartInfo> parts_;
    int last_number_ = 0;
    std::uint64_t total_ = 0;
    bool finished_ = false;
};

} // namespace

CatalogueEntry SnapshotUpload::run(PageSource& pages, SnapshotHeader& header, DbChecksum expected) {
    const std::uint64_t bound = std::uint64_t{pages.page_count()} * pages.page_size();
    CatalogueEntry entry;
    entry.kind = CatalogueEntry::Kind::snapshot;
    entry.key = keys.snapshot(header.created_at);
    UploadSink sink(*this, entry.key, std::max(kPartSize, bound / kPartsAimedAt),
                    bound + bound / 64 + (1 << 16));
    write_snapshot(pages, header, sink, level, kCompressionThreads);
    if (header.checksum != expected)
        throw SnapshotDiffers();
    sink.finish();
    crash_point("snapshot.stored");
    entry.generation = header.generation;
    entry.range = {header.sequence, header.sequence};
    entry.time = header.time;
    entry.size = sink.total();
    state.add_entry(entry);
    return entry;
}

void abort_open_uploads(ObjectStore& store, ShipState& state, Log& log) {
    for (const auto& [key, upload_id] : state.open_uploads()) {
        try {
            store.abort_upload(key, upload_id);
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::denied)
                throw;
            // The right to abort may be missing; that is no reason to make no snapshot any more.
            log.warn("an unfinished upload of " + store.describe(key) + " stays: " + e.what());
        }
        state.end_upload(upload_id);
        log.info("ended an unfinished upload of " + store.describe(key));
    }
}

} // namespace zl
