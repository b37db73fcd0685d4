/// zstd frames: making them, walking them without decompressing, opening them. The only user of
/// libzstd. Format facts: RFC 8878.
#pragma once

#include "stream/stream.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace zl {

/// RFC 8878 3.1.2: magic numbers 0x184D2A50..0x184D2A5F start skippable frames.
inline constexpr std::uint32_t kZstdMagic = 0xFD2FB528;
inline constexpr std::uint32_t kSkippableMagic = 0x184D2A50;
inline constexpr std::size_t kSkippableHeaderSize = 8;
/// Largest window a reader accepts (zstd -d's own default limit): 128 MiB.
inline constexpr int kMaxWindowLog = 27;

/// Compresses one buffer into one whole frame with content checksum and content size. The bytes
/// depend only on data, level and library version. One per thread.
class FrameCompressor {
public:
    explicit FrameCompressor(int level); ///< 1..22
    /// Replaces @p out by the frame.
    void compress(Bytes data, std::vector<std::byte>& out);
    /// The frame is the first bytes of @p buffer, which only grows; returns how many.
    std::size_t compress_into(Bytes data, std::vector<std::byte>& buffer);

private:
    struct Free {
        void operator()(ZSTD_CCtx_s* c) const noexcept;
    };
    std::unique_ptr<ZSTD_CCtx_s, Free> ctx_;
};

/// Streaming compression into a string (small metadata such as the table of contents): only the
/// compressed form is kept in memory.
class StringCompressor {
public:
    explicit StringCompressor(int level);
    void write(Bytes data);
    /// Ends the frame and returns it; call once.
    std::string finish();

private:
    void run(Bytes data, bool end);
    struct Free {
        void operator()(ZSTD_CCtx_s* c) const noexcept;
    };
    std::unique_ptr<ZSTD_CCtx_s, Free> ctx_;
    std::string out_;
};

/// Decompresses whole frames held in memory. One per thread.
class FrameDecompressor {
public:
    FrameDecompressor();
    /// @p frame is exactly one frame; its content (@p content_size bytes, from the header) replaces
    /// @p out. Throws data if it is corrupt or its content has another size.
    void decompress(Bytes frame, std::uint64_t content_size, std::vector<std::byte>& out);

private:
    struct Free {
        void operator()(ZSTD_DCtx_s* c) const noexcept;
    };
    std::unique_ptr<ZSTD_DCtx_s, Free> ctx_;
};

/// Streaming decompression of one or more frames in bounded memory; skippable frames give nothing.
class StreamDecompressor {
public:
    StreamDecompressor();
    /// Decompress all of @p data into @p sink. Throws data when corrupt.
    void write(Bytes data, Sink& sink);
    /// Bounded form: takes from the front of @p data, returns the bytes put into @p out; 0 = it
    /// needs more data.
    std::size_t step(Bytes& data, std::span<std::byte> out);
    /// True when the input so far ends exactly on the end of a frame.
    bool at_frame_end() const { return at_end_; }

private:
    struct Release {
        void operator()(ZSTD_DCtx_s* c) const noexcept;
    };
    std::unique_ptr<ZSTD_DCtx_s, Release> ctx_;
    std::vector<std::byte> out_; ///< of write()
    bool at_end_ = true;
    bool output_pending_ = false; ///< the last step filled its buffer
};

/// What the first bytes of a frame say.
struct FrameHeader {
    bool skippable = false;
    std::uint32_t magic = 0;
    std::uint64_t header_size = 0;             ///< bytes before the first block (8 if skippable)
    std::optional<std::uint64_t> content_size; ///< skippable: size of the payload
    std::uint64_t window_size = 0;
    bool has_checksum = false;
};
/// Largest number of bytes parse_frame_header wants to see (RFC 8878 3.1.1.1: 4 + 14).
inline constexpr std::size_t kMaxFrameHeader = 18;
/// nullopt: more bytes are needed. Throws data: neither a zstd nor a skippable frame, a reserved
/// bit, a dictionary, or a window above kMaxWindowLog.
std::optional<FrameHeader> parse_frame_header(Bytes start);

/// Follows a zstd stream as it passes, by block headers only: knows where frames begin and end.
class FrameScanner {
public:
    /// Takes bytes up to, at most, the end of the current frame and returns how many it took
    /// (>= 1 for a non-empty @p data). Throws data where the bytes cannot be a zstd stream.
    std::size_t feed(Bytes data);
    /// Between frames (also before the first).
    bool at_boundary() const { return state_ == State::magic && pending_.empty(); }
    /// Of the frame under way, once its header was seen; of the last one while at_boundary().
    const std::optional<FrameHeader>& header() const { return header_; }
    /// Compressed bytes of the current (or, at a boundary, the last) frame so far.
    std::uint64_t frame_size() const { return frame_size_; }

private:
    enum class State { magic, block_header, block, checksum, payload };
    std::size_t feed_header(Bytes data);
    State state_ = State::magic;
    std::string pending_; ///< header bytes collected so far
    std::optional<FrameHeader> header_;
    std::uint64_t left_ = 0; ///< bytes left of block, checksum or payload
    bool last_block_ = false;
    std::uint64_t frame_size_ = 0;
};

/// A whole skippable frame around @p payload; @p variant 0..15 is added to the magic.
std::string skippable_frame(unsigned variant, std::string_view payload);

} // namespace zl
