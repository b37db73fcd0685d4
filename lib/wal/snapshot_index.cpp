#include "base/endian.hpp"
#include "base/error.hpp"
#include "stream/trailer.hpp"
#include "stream/zstd_stream.hpp"
#include "wal/header_json.hpp"
#include "wal/segment.hpp"
#include "wal/snapshot.hpp"
#include "wal/snapshot_header.hpp"

#include <algorithm>

namespace zl {

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
        return parse_snapshot_header(*line, name_);
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
            // Compression adds less than that (ZSTD_COMPRESSBOUND): a frame fits in memory.
            if (f.content_size != std::min<std::uint64_t>(left, kSnapshotFrameSize) ||
                f.compressed_size == 0 ||
                f.compressed_size > f.content_size + f.content_size / 128 + 1024)
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
