#include "transfer/stored_layer.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "stream/zstd_stream.hpp"

#include <algorithm>

namespace zl {

namespace {

/// Enough for the trailer and the seek table of a layer of some 12 GiB of tar.
constexpr std::uint64_t kFirstTail = 64 << 10;
constexpr std::uint64_t kMaxTail = seek_table_frame_size(kMaxLayerRows) + kMaxTrailerSize;

std::optional<LayerEnd> parse_end(ObjectStore& store, const ObjectInfo& o, std::string tail) {
    if (tail.size() < seek_table_frame_size(2))
        return std::nullopt;
    auto rows = decode_seek_footer(as_bytes(tail).last(kSeekFooterSize));
    if (!rows || *rows < 3)
        return std::nullopt;
    std::uint64_t table_size = seek_table_frame_size(*rows);
    auto want_tail = [&](std::uint64_t n) {
        if (n > o.size || n > kMaxTail)
            return false;
        if (n > tail.size())
            tail = get_range(store, o, o.size - n, n);
        return true;
    };
    if (!want_tail(table_size))
        return std::nullopt;
    LayerEnd end;
    end.frames = decode_seek_table(as_bytes(tail).last(static_cast<std::size_t>(table_size)));
    std::uint64_t trailer_size = end.frames.back().compressed_size;
    if (trailer_size < kSkippableHeaderSize || trailer_size > kMaxTrailerSize ||
        !want_tail(table_size + trailer_size))
        return std::nullopt;
    Bytes frame = as_bytes(tail)
                      .last(static_cast<std::size_t>(table_size + trailer_size))
                      .first(static_cast<std::size_t>(trailer_size));
    auto header = parse_frame_header(frame);
    if (!header || header->magic != kSkippableMagic + kTrailerVariant)
        return std::nullopt;
    end.trailer = decode_trailer(frame.subspan(kSkippableHeaderSize));

    std::uint64_t data = 0, before = 0;
    for (std::size_t i = 0; i + 1 < end.frames.size(); ++i) {
        before += end.frames[i].compressed_size;
        if (i + 2 < end.frames.size())
            data = before;
    }
    const Trailer& t = end.trailer;
    if (t.data_frames + 2 != end.frames.size() || t.data_bytes != data ||
        t.before_bytes != before || before + trailer_size + table_size != o.size)
        return std::nullopt;
    return end;
}

} // namespace

std::uint64_t LayerEnd::last_frame_offset() const {
    return trailer.data_bytes -
           frames[static_cast<std::size_t>(trailer.data_frames) - 1].compressed_size;
}

std::optional<LayerEnd> read_layer_end(ObjectStore& store, const ObjectInfo& o) {
    std::uint64_t n = std::min(o.size, kFirstTail);
    std::string tail = get_range(store, o, o.size - n, n);
    try {
        return parse_end(store, o, std::move(tail));
    } catch (const Error& e) {
        if (e.kind() == ErrorKind::data)
            return std::nullopt;
        throw;
    }
}

std::string get_range(ObjectStore& store, const ObjectInfo& object, std::uint64_t offset,
                      std::uint64_t length) {
    MemorySink sink;
    if (length == 0)
        return {};
    GetOptions options;
    options.range = ByteRange{offset, length};
    options.if_match = object.etag;
    if (!store.get(object.key, sink, options))
        throw Error(ErrorKind::conflict, store.describe(object.key) + ": vanished meanwhile");
    if (sink.text.size() != length)
        throw Error(ErrorKind::data, store.describe(object.key) + ": got " +
                                         std::to_string(sink.text.size()) + " bytes of " +
                                         std::to_string(length));
    return std::move(sink.text);
}

} // namespace zl
