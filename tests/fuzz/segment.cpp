/// A segment: `JSON LF WAL`. The target puts the frame and the sums around them, which a fuzzer does
/// not get right.
#include "fuzz.hpp"
#include "wal/segment.hpp"

#include <zstd.h>

using namespace zl;

namespace {

std::string header_frame(std::string_view json) {
    std::string payload(json);
    payload.resize(kSegmentHeaderSize - 8 - 66, ' ');
    payload += "\n" + sha256(std::as_bytes(std::span(json))).hex() + "\n";
    std::string frame = {0x52, 0x2A, 0x4D, 0x18};
    const std::uint32_t n = static_cast<std::uint32_t>(payload.size());
    for (int i = 0; i < 4; ++i)
        frame += static_cast<char>(n >> (8 * i));
    return frame + payload;
}

} // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const std::string_view all = fuzz::text_of(fuzz::bytes_of(data, size));
    const std::string_view json = all.substr(0, all.find('\n'));
    const std::string_view wal = all.substr(std::min(all.size(), json.size() + 1));
    if (json.size() > kSegmentHeaderSize - 8 - 66)
        return 0;
    SegmentHeader header;
    const std::string frame = header_frame(json);
    const std::string refused = fuzz::refusal(
        [&] { header = decode_segment_header(std::as_bytes(std::span(frame)), "segment"); });
    if (!refused.empty())
        return 0;
    fuzz::require(encode_segment_header(header) == frame, "a header has one form");
    std::string body(ZSTD_compressBound(wal.size()), '\0');
    body.resize(ZSTD_compress(body.data(), body.size(), wal.data(), wal.size(), 1));
    std::uint64_t pages = 0;
    const std::string unread = fuzz::refusal([&] {
        fuzz::BytesSource in(std::as_bytes(std::span(body)));
        std::uint32_t last = 0;
        read_segment(header, in, "segment", [&](std::uint32_t page, Bytes content) {
            fuzz::require(page > last && page <= header.page_count &&
                              content.size() == header.page_size,
                          "pages ascend within the database");
            last = page;
            ++pages;
        });
    });
    fuzz::require(!unread.empty() || pages == header.frames, "all pages were there");
    return 0;
}
