#include "wal/segment.hpp"

#include "base/endian.hpp"
#include "stream/zstd_stream.hpp"
#include "wal/header_json.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

namespace zl {

namespace {

constexpr std::size_t kPayloadSize = kSegmentHeaderSize - kSkippableHeaderSize;
constexpr const char* kKinds[] = {"segment", "claim", "merged"};
/// SQLite's own limit (limits.html).
constexpr std::uint32_t kMaxPages = 4294967294U;

std::string header_line(const SegmentHeader& h) {
    Json j;
    j["zl_segment"] = kReplicaFormat;
    j["kind"] = kKinds[static_cast<int>(h.kind)];
    j["db_id"] = h.db_id;
    j["generation"] = h.generation;
    j["writer"] = h.writer;
    j["host"] = header_text(h.host, 48);
    if (h.kind == SegmentKind::merged) {
        j["first_sequence"] = h.first_sequence;
        j["first_time"] = format_rfc3339(h.first_time);
    }
    j["sequence"] = h.sequence;
    j["time"] = format_rfc3339(h.time);
    j["page_size"] = h.page_size;
    j["page_count"] = h.page_count;
    j["frames"] = h.frames;
    j["body_size"] = h.body_size;
    j["body_sha256"] = h.body_sha256.hex();
    j["prev"] = h.prev.hex();
    if (h.kind == SegmentKind::merged)
        j["last"] = h.last.hex();
    j["checksum_before"] = hex16(h.checksum_before);
    j["checksum_after"] = hex16(h.checksum_after);
    if (!h.resync.empty())
        j["resync"] = header_text(h.resync, 80);
    if (h.gap_from)
        j["gap_from"] = format_rfc3339(*h.gap_from);
    if (!h.parent.empty()) {
        j["parent"] = h.parent;
        j["fork_sequence"] = h.fork_sequence;
    }
    return dump_json(j);
}

void check_values(const SegmentHeader& h, const HeaderFields& f) {
    if (h.sequence == 0 || h.first_sequence == 0 || h.first_sequence > h.sequence)
        throw f.bad("sequence", std::to_string(h.sequence));
    if (h.first_time > h.time)
        throw f.bad("first_time", format_rfc3339(h.first_time));
    if (!valid_page_size(h.page_size))
        throw f.bad("page_size", std::to_string(h.page_size));
    if (h.page_count > kMaxPages)
        throw f.bad("page_count", std::to_string(h.page_count));
    if (h.frames > h.page_count || (h.kind == SegmentKind::claim && h.frames))
        throw f.bad("frames", std::to_string(h.frames));
    if (h.body_size == 0)
        throw f.bad("body_size", "0");
    if (!h.parent.empty() && (h.kind != SegmentKind::claim || h.fork_sequence >= h.sequence))
        throw f.bad("parent", h.parent);
    if (h.gap_from && *h.gap_from > h.time)
        throw f.bad("gap_from", format_rfc3339(*h.gap_from));
}

SegmentKind kind_of(const HeaderFields& f) {
    std::string text = f.text("kind");
    for (int i = 0; i < 3; ++i)
        if (text == kKinds[i])
            return static_cast<SegmentKind>(i);
    throw f.bad("kind", text);
}

SegmentHeader parse_line(const std::string& line, const std::string& name) {
    HeaderFields f(parse_json(line, name), name);
    if (std::uint64_t format = f.number("zl_segment"); format != kReplicaFormat)
        throw Error(ErrorKind::data,
                    name + ": segment format " + std::to_string(format) + ", this zl reads " +
                        std::to_string(kReplicaFormat),
                    "use a newer zl; the data itself is a plain SQLite WAL in zstd");
    SegmentHeader h;
    h.kind = kind_of(f);
    h.db_id = f.id("db_id");
    h.generation = f.id("generation");
    h.writer = f.id("writer");
    h.host = f.text("host");
    h.sequence = h.first_sequence = f.number("sequence");
    h.time = h.first_time = f.time("time");
    if (h.kind == SegmentKind::merged) {
        h.first_sequence = f.number("first_sequence");
        h.first_time = f.time("first_time");
        h.last = f.digest("last");
    }
    h.page_size = f.number32("page_size");
    h.page_count = f.number32("page_count");
    h.frames = f.number("frames");
    h.body_size = f.number("body_size");
    h.body_sha256 = f.digest("body_sha256");
    h.prev = f.digest("prev");
    h.checksum_before = f.hash("checksum_before");
    h.checksum_after = f.hash("checksum_after");
    if (f.has("resync"))
        h.resync = f.text("resync");
    if (f.has("gap_from"))
        h.gap_from = f.time("gap_from");
    if (f.has("parent")) {
        h.parent = f.id("parent");
        h.fork_sequence = f.number("fork_sequence");
    }
    check_values(h, f);
    // The id is the hash of the line, and is computed from the fields ever after.
    if (header_line(h) != line)
        throw Error(ErrorKind::data, name + ": segment header is not in the form of format 1");
    return h;
}

} // namespace

Digest SegmentHeader::id() const {
    return sha256(as_bytes(header_line(*this)));
}

std::string encode_segment_header(const SegmentHeader& header) {
    std::string line = header_line(header);
    if (line.size() + kSealSize > kPayloadSize)
        throw Error(ErrorKind::internal, "segment header of " + std::to_string(line.size()) +
                                             " bytes, at most " +
                                             std::to_string(kPayloadSize - kSealSize) + " fit");
    return skippable_frame(kSegmentVariant, sealed(line, kPayloadSize - kSealSize - line.size()));
}

SegmentHeader decode_segment_header(Bytes bytes, std::string_view name) {
    std::string what(name);
    std::uint32_t magic = bytes.size() >= 4 ? get_le32(bytes.data()) : 0;
    if (magic == kZstdMagic)
        throw Error(ErrorKind::data, what + ": no zl segment: it starts with plain zstd data",
                    kZLayerHint);
    if (magic != kSkippableMagic + kSegmentVariant)
        throw Error(ErrorKind::data,
                    what + ": no zl segment: it starts with " +
                        to_hex(bytes.first(std::min<std::size_t>(bytes.size(), 4))));
    if (bytes.size() < kSegmentHeaderSize)
        throw Error(ErrorKind::data, what + ": segment header is cut off after " +
                                         std::to_string(bytes.size()) + " of " +
                                         std::to_string(kSegmentHeaderSize) + " bytes");
    if (get_le32(bytes.data() + 4) != kPayloadSize)
        throw Error(ErrorKind::data, what + ": segment header of " +
                                         std::to_string(get_le32(bytes.data() + 4)) +
                                         " bytes, expected " + std::to_string(kPayloadSize));
    auto line = unsealed(as_text(bytes.subspan(kSkippableHeaderSize, kPayloadSize)));
    if (!line)
        throw Error(ErrorKind::data, what + ": segment header: checksum does not match");
    return parse_line(*line, what);
}

SegmentHeader verify_segment_file(int fd, std::string_view name) {
    std::string what(name);
    std::array<std::byte, kSegmentHeaderSize> first;
    std::size_t n = pread_full(fd, first, 0, name);
    SegmentHeader h = decode_segment_header(Bytes(first).first(n), name);
    struct stat st {};
    if (::fstat(fd, &st) != 0)
        throw sys_error("stat " + what);
    auto size = static_cast<std::uint64_t>(st.st_size);
    if (size - kSegmentHeaderSize != h.body_size)
        throw Error(ErrorKind::data, what + ": body of " +
                                         std::to_string(size - kSegmentHeaderSize) +
                                         " bytes, its header says " + std::to_string(h.body_size));
    Hasher hasher;
    std::vector<std::byte> buffer(256 << 10);
    for (std::uint64_t at = kSegmentHeaderSize; at < size;) {
        n = pread_full(fd, buffer, at, name);
        if (n == 0)
            throw Error(ErrorKind::data, what + ": shrank while it was read");
        hasher.update(Bytes(buffer).first(n));
        at += n;
    }
    if (Digest got = hasher.finish(); got != h.body_sha256)
        throw Error(ErrorKind::data, what + ": SHA-256 of the body is " + got.hex() +
                                         ", its header says " + h.body_sha256.hex());
    return h;
}

} // namespace zl
