/// Layer stream, reading side: compressed bytes to tar bytes, proved at the end (zl-format(5)).
#pragma once

#include "layer/layer_checker.hpp"

#include <memory>
#include <optional>

namespace zl {

/// Reads a layer stream; a Source of the tar. Frames are decompressed on other threads, in order
/// and with bounded memory; frames too big for that are streamed.
/// Nothing that read() gave is proved before finish() returned.
class LayerStreamReader final : public Source {
public:
    struct Options {
        unsigned threads = 0; ///< 0 = one per processor
        bool foreign = false; ///< accept a stream without trailer that ends on a frame end
        std::uint64_t max_size = UINT64_MAX; ///< of the tar: more is refused (data)
    };
    /// @p in outlives this.
    LayerStreamReader(Source& in, Options options);
    ~LayerStreamReader() override;

    std::size_t read(std::span<std::byte> buffer) override;

    struct Result {
        std::optional<Trailer> trailer; ///< absent for a foreign stream
        Digest digest;                  ///< of the tar bytes that were read
        std::uint64_t size_bytes = 0;
        Digest blob_sha256; ///< of all compressed bytes
        std::uint64_t blob_size = 0;
    };
    /// After read() returned 0 (or to drain what is left): checks frame ends, trailer, seek table,
    /// digest and that nothing follows. Throws data otherwise.
    Result finish();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace zl
