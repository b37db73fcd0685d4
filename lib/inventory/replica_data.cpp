#include "inventory/replica_data.hpp"

#include "base/error.hpp"
#include "store/range_reader.hpp"
#include "stream/zstd_stream.hpp"

#include <vector>

namespace zl {

namespace {

/// Objects are read several at a time, so each by one request.
constexpr RangeReader::Options kReading{1, 4 << 20};

/// Hashes what passes.
class HashedSource final : public Source {
public:
    HashedSource(Source& in, std::stop_token stop) : in_(in), stop_(std::move(stop)) {}

    std::size_t read(std::span<std::byte> buffer) override {
        if (stop_.stop_requested())
            throw Interrupted();
        const std::size_t n = in_.read(buffer);
        hash_.update(buffer.first(n));
        return n;
    }

    void expect(const Digest& wanted, const std::string& name) {
        if (const Digest got = hash_.finish(); got != wanted)
            throw Error(ErrorKind::data, name + ": SHA-256 of the body is " + got.hex() +
                                             ", its header says " + wanted.hex());
    }

private:
    Source& in_;
    std::stop_token stop_;
    Hasher hash_;
};

/// Sums the hashes of pages that come in pieces of any size.
class PageSum {
public:
    explicit PageSum(const SnapshotHeader& header) : header_(header) {
        page_.reserve(header.page_size);
    }
    void add(Bytes data) {
        while (!data.empty()) {
            const std::size_t n = std::min(data.size(), header_.page_size - page_.size());
            page_.insert(page_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(n));
            data = data.subspan(n);
            if (page_.size() < header_.page_size)
                return;
            if (number_ == header_.page_count)
                throw Error(ErrorKind::data, "more pages than its header says");
            if (++number_ != lock_page(header_.page_size))
                sum_ += page_hash(number_, page_);
            page_.clear();
        }
    }
    void expect(const std::string& name) const {
        if (number_ != header_.page_count || !page_.empty())
            throw Error(ErrorKind::data, name + ": holds " + std::to_string(number_) +
                                             " pages, its header says " +
                                             std::to_string(header_.page_count));
        if (sum_ != header_.checksum)
            throw Error(ErrorKind::data, name + ": the database in it has checksum " +
                                             std::to_string(sum_) + ", its header says " +
                                             std::to_string(header_.checksum));
    }

private:
    const SnapshotHeader& header_;
    std::vector<std::byte> page_;
    std::uint32_t number_ = 0;
    DbChecksum sum_ = 0;
};

} // namespace

void verify_segment_data(ObjectStore& store, const ObjectInfo& object, const SegmentHeader& header,
                         Progress& progress, std::stop_token stop) {
    const std::string name = store.describe(object.key);
    if (object.size != kSegmentHeaderSize + header.body_size)
        throw Error(ErrorKind::data, name + ": " + std::to_string(object.size) +
                                         " bytes, expected " +
                                         std::to_string(kSegmentHeaderSize + header.body_size));
    RangeReader in(store, object, {kSegmentHeaderSize, header.body_size}, kReading, progress);
    HashedSource body(in, std::move(stop));
    read_segment(header, body, name, [](std::uint32_t, Bytes) {});
    body.expect(header.body_sha256, name);
}

void verify_snapshot_data(ObjectStore& store, const ObjectInfo& object,
                          const SnapshotHeader& header, Progress& progress, std::stop_token stop) {
    const std::string name = store.describe(object.key);
    RangeReader in(store, object, {0, header.body_size}, kReading, progress);
    HashedSource body(in, std::move(stop));
    PageSum pages(header);
    FunctionSink sink([&](Bytes data) { pages.add(data); });
    StreamDecompressor zstd;
    std::vector<std::byte> buffer(256 << 10);
    try {
        while (const std::size_t n = body.read(buffer))
            zstd.write(Bytes(buffer).first(n), sink);
    } catch (Error& e) {
        if (e.kind() == ErrorKind::data)
            e.add_context(name);
        throw;
    }
    body.expect(header.body_sha256, name);
    pages.expect(name);
}

} // namespace zl
