/// The structure of a layer stream, checked on its compressed bytes.
#pragma once

#include "stream/stream.hpp"
#include "stream/trailer.hpp"
#include "stream/zstd_stream.hpp"

#include <memory>
#include <optional>

namespace zl {

/// Checks the compressed bytes of a layer stream as they pass, without decompressing: frame
/// structure, the trailer's SHA-256 of everything before it, the seek table, nothing after it.
/// That proves that the bytes are those which the packer wrote (zl-push).
class LayerStreamChecker {
public:
    /// Sees the data frames' bytes as they pass.
    class Observer {
    public:
        virtual ~Observer() = default;
        /// @p first: the first bytes of a frame.
        virtual void data(const FrameHeader& header, Bytes bytes, bool first) = 0;
        virtual void frame_end() = 0;
    };
    explicit LayerStreamChecker(Observer* observer = nullptr);
    ~LayerStreamChecker();
    void write(Bytes data);
    struct Result {
        std::optional<Trailer> trailer; ///< absent: the stream has none (foreign)
        Digest blob_sha256;
        std::uint64_t blob_size = 0;
    };
    /// At the end of the input. Throws data: empty, ends inside a frame, trailer false, or bytes
    /// after the seek table. Without any trailer: returns; the caller decides.
    Result finish();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace zl
