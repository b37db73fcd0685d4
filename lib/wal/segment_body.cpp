#include "base/error.hpp"
#include "stream/zstd_stream.hpp"
#include "wal/segment.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace zl {

namespace {

/// Salts only have to differ from one segment to the next: sqlite3 takes a stale WAL for valid when
/// they agree with those in its index.
WalSalt salt_of(std::uint64_t sequence) {
    std::uint64_t z = sequence * 0x9E3779B97F4A7C15ULL; // splitmix64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    z ^= z >> 31;
    return {static_cast<std::uint32_t>(z), static_cast<std::uint32_t>(z >> 32)};
}

} // namespace

struct SegmentWriter::Impl {
    Impl(int fd_, std::string name_, std::uint32_t page_size_, std::uint64_t sequence, int level)
        : fd(fd_), name(std::move(name_)), page_size(page_size_), compressor(level),
          sink([this](Bytes data) { append(data); }),
          wal(sink, page_size, salt_of(sequence), static_cast<std::uint32_t>(sequence)) {}

    void append(Bytes data) {
        while (!data.empty()) {
            std::size_t n = std::min(data.size(), kSegmentFrameSize - buffer.size());
            buffer.insert(buffer.end(), data.begin(),
                          data.begin() + static_cast<std::ptrdiff_t>(n));
            data = data.subspan(n);
            if (buffer.size() == kSegmentFrameSize)
                flush();
        }
    }

    void flush() {
        if (buffer.empty())
            return;
        compressor.compress(buffer, compressed);
        pwrite_full(fd, compressed, kSegmentHeaderSize + written, name);
        hasher.update(compressed);
        written += compressed.size();
        buffer.clear();
    }

    int fd;
    std::string name;
    std::uint32_t page_size;
    FrameCompressor compressor;
    std::vector<std::byte> buffer, compressed;
    Hasher hasher;
    std::uint64_t written = 0; ///< compressed bytes of the body
    FunctionSink sink;
    WalBuilder wal;
    // The last page becomes the commit frame, so one page is held back.
    std::uint32_t held = 0;
    std::vector<std::byte> held_data;
    std::uint64_t frames = 0;
};

SegmentWriter::SegmentWriter(int fd, std::string name, std::uint32_t page_size,
                             std::uint64_t sequence, int level)
    : impl_(std::make_unique<Impl>(fd, std::move(name), page_size, sequence, level)) {}

SegmentWriter::~SegmentWriter() = default;

void SegmentWriter::page(std::uint32_t page, Bytes data) {
    Impl& i = *impl_;
    if (page <= i.held || page == lock_page(i.page_size) || data.size() != i.page_size)
        throw Error(ErrorKind::internal, i.name + ": page " + std::to_string(page) + " of " +
                                             std::to_string(data.size()) + " bytes after page " +
                                             std::to_string(i.held));
    if (i.held)
        i.wal.frame(i.held, 0, i.held_data);
    i.held = page;
    i.held_data.assign(data.begin(), data.end());
    ++i.frames;
}

std::uint64_t SegmentWriter::finish(SegmentHeader& header) {
    Impl& i = *impl_;
    if (i.held > header.page_count)
        throw Error(ErrorKind::internal, i.name + ": page " + std::to_string(i.held) +
                                             " of a database of " +
                                             std::to_string(header.page_count));
    if (i.held)
        i.wal.frame(i.held, header.page_count, i.held_data);
    i.flush();
    header.page_size = i.page_size;
    header.frames = i.frames;
    header.body_size = i.written;
    header.body_sha256 = i.hasher.finish();
    pwrite_full(i.fd, as_bytes(encode_segment_header(header)), 0, i.name);
    return kSegmentHeaderSize + i.written;
}

namespace {

/// The decompressed bytes of a body, by exact counts.
class BodyReader {
public:
    BodyReader(Source& body, std::uint64_t size, std::string name)
        : body_(body), left_(size), name_(std::move(name)),
          buffer_(static_cast<std::size_t>(std::min<std::uint64_t>(size, 64 << 10))) {}

    void read(std::span<std::byte> out) {
        while (!out.empty()) {
            std::size_t n = zstd_.step(rest_, out);
            if (n == 0 && !refill())
                throw bad("its WAL is cut off");
            out = out.subspan(n);
        }
    }

    /// Nothing may follow, and the last zstd frame must be whole.
    void expect_end() {
        std::byte extra;
        do
            if (zstd_.step(rest_, std::span(&extra, 1)) != 0)
                throw bad("its WAL goes on after the last page");
        while (refill());
        if (!zstd_.at_frame_end() || left_ != 0)
            throw bad("its zstd data is cut off");
    }

    Error bad(const std::string& why) const { return Error(ErrorKind::data, name_ + ": " + why); }

private:
    bool refill() {
        std::size_t n = body_.read(buffer_);
        if (n > left_)
            throw bad("its body is longer than its header says");
        left_ -= n;
        rest_ = Bytes(buffer_).first(n);
        return n != 0;
    }

    Source& body_;
    std::uint64_t left_;
    std::string name_;
    std::vector<std::byte> buffer_;
    Bytes rest_;
    StreamDecompressor zstd_;
};

} // namespace

struct SegmentCursor::Impl {
    Impl(const SegmentHeader& h, Source& source, std::string_view name)
        : header(h), in(source, h.body_size, std::string(name)),
          frame(kWalFrameHeaderSize + std::size_t{h.page_size}),
          data(Bytes(frame).subspan(kWalFrameHeaderSize)) {}

    void read_wal_header() {
        std::array<std::byte, kWalHeaderSize> first;
        in.read(first);
        auto parsed = parse_wal_header(first);
        if (!parsed)
            throw in.bad("its WAL header is wrong");
        if (parsed->page_size != header.page_size)
            throw in.bad("page size " + std::to_string(parsed->page_size) + " in its WAL, " +
                         std::to_string(header.page_size) + " in its header");
        wal = *parsed;
        chain = wal.checksum;
    }

    void check(const WalFrame& f) const {
        std::string where = "frame " + std::to_string(frames) + ": ";
        if (f.salt != wal.salt || f.checksum != chain)
            throw in.bad(where + "checksum or salt is wrong");
        if (f.page <= page || f.page > header.page_count || f.page == lock_page(header.page_size))
            throw in.bad(where + "page " + std::to_string(f.page) + " after page " +
                         std::to_string(page) + ", of " + std::to_string(header.page_count));
        if (f.commit != (frames == header.frames ? header.page_count : 0))
            throw in.bad(where + "commit of " + std::to_string(f.commit) + " pages, expected " +
                         std::to_string(header.page_count) + " in the last frame only");
    }

    SegmentHeader header;
    BodyReader in;
    std::vector<std::byte> frame;
    Bytes data;
    WalHeader wal;
    WalChecksum chain;
    std::uint64_t frames = 0; ///< read so far
    std::uint32_t page = 0;
    bool begun = false;
};

SegmentCursor::SegmentCursor(const SegmentHeader& header, Source& body, std::string_view name)
    : impl_(std::make_unique<Impl>(header, body, name)) {}

SegmentCursor::~SegmentCursor() = default;
SegmentCursor::SegmentCursor(SegmentCursor&&) noexcept = default;

bool SegmentCursor::next() {
    Impl& i = *impl_;
    if (!i.begun)
        i.read_wal_header();
    i.begun = true;
    if (i.frames == i.header.frames) {
        i.in.expect_end();
        return false;
    }
    i.in.read(i.frame);
    ++i.frames;
    WalFrame f = parse_wal_frame(i.frame);
    chain_frame(i.chain, i.frame, i.data, i.wal.big_endian);
    i.check(f);
    i.page = f.page;
    return true;
}

std::uint32_t SegmentCursor::page() const {
    return impl_->page;
}

Bytes SegmentCursor::data() const {
    return impl_->data;
}

void read_segment(const SegmentHeader& header, Source& body, std::string_view name,
                  const PageVisitor& visit) {
    SegmentCursor cursor(header, body, name);
    while (cursor.next())
        visit(cursor.page(), cursor.data());
}

} // namespace zl
