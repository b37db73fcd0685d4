#include "stream/seek_table.hpp"

#include "base/endian.hpp"
#include "base/error.hpp"
#include "stream/trailer.hpp"
#include "stream/zstd_stream.hpp"

namespace zl {

namespace {
constexpr std::uint32_t kSeekMagic = 0x8F92EAB1;
constexpr std::uint32_t kMaxFrames = 0x8000000; // limit of the format
} // namespace

std::string encode_seek_table(const std::vector<SeekEntry>& frames) {
    std::string payload;
    payload.reserve(frames.size() * 8 + kSeekFooterSize);
    for (const SeekEntry& f : frames) {
        append_le32(payload, f.compressed_size);
        append_le32(payload, f.content_size);
    }
    append_le32(payload, static_cast<std::uint32_t>(frames.size()));
    payload += '\0'; // descriptor: no checksums
    append_le32(payload, kSeekMagic);
    return skippable_frame(kSeekTableVariant, payload);
}

std::optional<std::uint32_t> decode_seek_footer(Bytes last9) {
    if (last9.size() != kSeekFooterSize || get_le32(last9.data() + 5) != kSeekMagic)
        return std::nullopt;
    std::uint32_t frames = get_le32(last9.data());
    // Any descriptor bit means rows with checksums or a later format: not made by us.
    if (last9[4] != std::byte{0} || frames > kMaxFrames)
        return std::nullopt;
    return frames;
}

std::vector<SeekEntry> decode_seek_table(Bytes frame) {
    auto bad = [](const char* why) {
        return Error(ErrorKind::data, std::string("seek table: ") + why);
    };
    if (frame.size() < seek_table_frame_size(0))
        throw bad("too short");
    auto frames = decode_seek_footer(frame.last(kSeekFooterSize));
    if (!frames)
        throw bad("no footer");
    if (frame.size() != seek_table_frame_size(*frames) ||
        get_le32(frame.data()) != kSkippableMagic + kSeekTableVariant ||
        get_le32(frame.data() + 4) != frame.size() - kSkippableHeaderSize)
        throw bad("size or magic number is wrong");
    std::vector<SeekEntry> out(*frames);
    const std::byte* p = frame.data() + kSkippableHeaderSize;
    for (SeekEntry& e : out) {
        e.compressed_size = get_le32(p);
        e.content_size = get_le32(p + 4);
        p += 8;
    }
    return out;
}

} // namespace zl
