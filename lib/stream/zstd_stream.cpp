#include "stream/zstd_stream.hpp"

#include "base/endian.hpp"
#include "base/error.hpp"
#include "stream/hash.hpp"

#include <zstd.h>

#include <algorithm>
#include <new>

namespace zl {

namespace {

std::size_t check(std::size_t code, const char* what) {
    if (ZSTD_isError(code))
        throw Error(ErrorKind::data, std::string(what) + ": " + ZSTD_getErrorName(code));
    return code;
}

} // namespace

// ---------------------------------------------------------------------------------- compression

void FrameCompressor::Free::operator()(ZSTD_CCtx_s* c) const noexcept {
    ZSTD_freeCCtx(c);
}

FrameCompressor::FrameCompressor(int level) : ctx_(ZSTD_createCCtx()) {
    if (!ctx_)
        throw std::bad_alloc();
    check(ZSTD_CCtx_setParameter(ctx_.get(), ZSTD_c_compressionLevel, level), "zstd level");
    check(ZSTD_CCtx_setParameter(ctx_.get(), ZSTD_c_checksumFlag, 1), "zstd checksum flag");
}

std::size_t FrameCompressor::compress_into(Bytes data, std::vector<std::byte>& buffer) {
    if (std::size_t bound = ZSTD_compressBound(data.size()); buffer.size() < bound)
        buffer.resize(bound);
    return check(ZSTD_compress2(ctx_.get(), buffer.data(), buffer.size(), data.data(), data.size()),
                 "compress");
}

void FrameCompressor::compress(Bytes data, std::vector<std::byte>& out) {
    out.resize(compress_into(data, out));
}

void StringCompressor::Free::operator()(ZSTD_CCtx_s* c) const noexcept {
    ZSTD_freeCCtx(c);
}

StringCompressor::StringCompressor(int level) : ctx_(ZSTD_createCCtx()) {
    if (!ctx_)
        throw std::bad_alloc();
    check(ZSTD_CCtx_setParameter(ctx_.get(), ZSTD_c_compressionLevel, level), "zstd level");
    check(ZSTD_CCtx_setParameter(ctx_.get(), ZSTD_c_checksumFlag, 1), "zstd checksum flag");
}

void StringCompressor::run(Bytes data, bool end) {
    char block[1 << 16];
    ZSTD_inBuffer in{data.data(), data.size(), 0};
    for (;;) {
        ZSTD_outBuffer out{block, sizeof block, 0};
        std::size_t left =
            check(ZSTD_compressStream2(ctx_.get(), &out, &in, end ? ZSTD_e_end : ZSTD_e_continue),
                  "compress");
        out_.append(block, out.pos);
        if (end ? left == 0 : in.pos == in.size)
            return;
    }
}

void StringCompressor::write(Bytes data) {
    run(data, false);
}

std::string StringCompressor::finish() {
    run({}, true);
    return std::move(out_);
}

// -------------------------------------------------------------------------------- decompression

void FrameDecompressor::Free::operator()(ZSTD_DCtx_s* c) const noexcept {
    ZSTD_freeDCtx(c);
}

FrameDecompressor::FrameDecompressor() : ctx_(ZSTD_createDCtx()) {
    if (!ctx_)
        throw std::bad_alloc();
}

void FrameDecompressor::decompress(Bytes frame, std::uint64_t content_size,
                                   std::vector<std::byte>& out) {
    out.resize(content_size);
    std::size_t n =
        check(ZSTD_decompressDCtx(ctx_.get(), out.data(), out.size(), frame.data(), frame.size()),
              "decompress");
    if (n != content_size)
        throw Error(ErrorKind::data, "zstd frame holds " + std::to_string(n) +
                                         " bytes, its header says " + std::to_string(content_size));
}

namespace {

/// A context costs more to make than a small stream to decompress, and there are many of those: a
/// thread keeps its last one, unless its window made it large.
thread_local std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> spare_context(nullptr,
                                                                                ZSTD_freeDCtx);
constexpr std::size_t kMaxSpareContext = 1 << 20;

ZSTD_DCtx* new_context() {
    return spare_context ? spare_context.release() : ZSTD_createDCtx();
}

} // namespace

void StreamDecompressor::Release::operator()(ZSTD_DCtx_s* c) const noexcept {
    if (!spare_context && ZSTD_sizeof_DCtx(c) <= kMaxSpareContext &&
        !ZSTD_isError(ZSTD_DCtx_reset(c, ZSTD_reset_session_and_parameters)))
        spare_context.reset(c);
    else
        ZSTD_freeDCtx(c);
}

StreamDecompressor::StreamDecompressor() : ctx_(new_context()) {
    if (!ctx_)
        throw std::bad_alloc();
    check(ZSTD_DCtx_setParameter(ctx_.get(), ZSTD_d_windowLogMax, kMaxWindowLog), "window limit");
}

std::size_t StreamDecompressor::step(Bytes& data, std::span<std::byte> out_buffer) {
    ZSTD_inBuffer in{data.data(), data.size(), 0};
    ZSTD_outBuffer out{out_buffer.data(), out_buffer.size(), 0};
    while (out.pos == 0 && (in.pos < in.size || output_pending_)) {
        std::size_t hint = check(ZSTD_decompressStream(ctx_.get(), &out, &in), "decompress");
        at_end_ = hint == 0;
        // A frame that ended exactly with a full buffer has nothing left to flush.
        output_pending_ = out.pos == out.size && !at_end_;
    }
    data = data.subspan(in.pos);
    return out.pos;
}

void StreamDecompressor::write(Bytes data, Sink& sink) {
    out_.resize(ZSTD_DStreamOutSize());
    while (std::size_t n = step(data, out_))
        sink.write(Bytes(out_.data(), n));
}

// ------------------------------------------------------------------------------------ structure

std::optional<FrameHeader> parse_frame_header(Bytes start) {
    if (start.size() < 4)
        return std::nullopt;
    FrameHeader h;
    h.magic = get_le32(start.data());
    if ((h.magic & 0xFFFFFFF0u) == kSkippableMagic) {
        if (start.size() < kSkippableHeaderSize)
            return std::nullopt;
        h.skippable = true;
        h.header_size = kSkippableHeaderSize;
        h.content_size = get_le32(start.data() + 4);
        return h;
    }
    if (h.magic != kZstdMagic)
        throw Error(ErrorKind::data, "not zstd data: frame starts with " + to_hex(start.first(4)));
    if (start.size() < 5)
        return std::nullopt;
    // RFC 8878 3.1.1.1.1: content size flag (2 bits), single segment, unused, reserved, checksum,
    // dictionary id flag (2 bits).
    auto descriptor = std::to_integer<unsigned>(start[4]);
    bool single = descriptor & 0x20;
    if (descriptor & 0x08)
        throw Error(ErrorKind::data, "zstd frame header: reserved bit is set");
    if (descriptor & 0x03)
        throw Error(ErrorKind::data, "zstd frame needs a dictionary");
    h.has_checksum = descriptor & 0x04;
    unsigned size_flag = descriptor >> 6;
    std::size_t size_bytes = size_flag == 0 ? (single ? 1 : 0) : std::size_t{1} << size_flag;
    h.header_size = 5 + (single ? 0 : 1) + size_bytes;
    if (start.size() < h.header_size)
        return std::nullopt;
    std::size_t at = 5;
    if (!single) {
        auto window = std::to_integer<unsigned>(start[at++]);
        std::uint64_t base = std::uint64_t{1} << (10 + (window >> 3));
        h.window_size = base + base / 8 * (window & 7);
    }
    if (size_bytes) {
        std::uint64_t n = 0;
        for (std::size_t i = 0; i < size_bytes; ++i)
            n |= std::to_integer<std::uint64_t>(start[at + i]) << (8 * i);
        if (size_bytes == 2)
            n += 256;
        h.content_size = n;
        if (single)
            h.window_size = n;
    }
    if (!single && h.window_size > std::uint64_t{1} << kMaxWindowLog)
        throw Error(ErrorKind::data, "zstd frame needs a window of " +
                                         std::to_string(h.window_size) +
                                         " bytes, at most 134217728 are accepted");
    return h;
}

std::size_t FrameScanner::feed_header(Bytes data) {
    if (pending_.empty()) {
        header_.reset();
        frame_size_ = 0;
    }
    std::size_t had = pending_.size();
    std::size_t n = std::min(data.size(), kMaxFrameHeader - had);
    pending_.append(reinterpret_cast<const char*>(data.data()), n);
    auto h = parse_frame_header(std::as_bytes(std::span<const char>(pending_)));
    if (!h) {
        frame_size_ += n;
        return n;
    }
    // Bytes of `pending_` past the header were only looked at, not taken.
    std::size_t take = static_cast<std::size_t>(h->header_size) - had;
    frame_size_ += take;
    header_ = h;
    pending_.clear();
    if (h->skippable) {
        left_ = *h->content_size;
        state_ = left_ ? State::payload : State::magic;
    } else {
        state_ = State::block_header;
    }
    return take;
}

std::size_t FrameScanner::feed(Bytes data) {
    std::size_t taken = 0;
    while (taken < data.size()) {
        Bytes rest = data.subspan(taken);
        if (state_ == State::magic) {
            taken += feed_header(rest);
            if (state_ == State::magic && pending_.empty())
                return taken; // an empty skippable frame
            continue;
        }
        if (state_ == State::block_header) {
            std::size_t n = std::min(rest.size(), 3 - pending_.size());
            pending_.append(reinterpret_cast<const char*>(rest.data()), n);
            taken += n;
            frame_size_ += n;
            if (pending_.size() < 3)
                return taken;
            auto byte = [&](std::size_t i) {
                return static_cast<std::uint32_t>(static_cast<unsigned char>(pending_[i]));
            };
            std::uint32_t block = byte(0) | byte(1) << 8 | byte(2) << 16;
            pending_.clear();
            last_block_ = block & 1;
            unsigned type = (block >> 1) & 3;
            if (type == 3)
                throw Error(ErrorKind::data, "zstd frame: reserved block type");
            left_ = type == 1 ? 1 : block >> 3; // RLE: one byte stands for all
            state_ = State::block;
        } else {
            std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(rest.size(), left_));
            taken += n;
            frame_size_ += n;
            left_ -= n;
        }
        if (left_)
            continue;
        if (state_ == State::block && !last_block_) {
            state_ = State::block_header;
        } else if (state_ == State::block && header_->has_checksum) {
            state_ = State::checksum;
            left_ = 4;
        } else if (state_ != State::block_header) {
            state_ = State::magic;
            return taken;
        }
    }
    return taken;
}

std::string skippable_frame(unsigned variant, std::string_view payload) {
    if (payload.size() > UINT32_MAX)
        throw Error(ErrorKind::data, "skippable frame would exceed 4 GiB");
    std::string out;
    out.reserve(payload.size() + kSkippableHeaderSize);
    append_le32(out, kSkippableMagic + variant);
    append_le32(out, static_cast<std::uint32_t>(payload.size()));
    out += payload;
    return out;
}

} // namespace zl
