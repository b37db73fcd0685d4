/// Proves that the bytes of a pulled object are the layer that was asked for.
#pragma once

#include "layer/layer_checker.hpp"
#include "layer/tar_scanner.hpp"
#include "stream/hash.hpp"
#include "stream/zstd_stream.hpp"

#include <memory>
#include <optional>
#include <string>

namespace zl {

/// Sees every byte in order. What proves it: raw: the SHA-256 that is its name; a layer with
/// trailer: the trailer's hash of all bytes and its digest; one without (another tool's): the
/// digest of its decompressed content.
class LayerVerifier {
public:
    enum class Proof { raw, trailer, content };
    /// @p digest 64 hex digits.
    LayerVerifier(Proof proof, std::string digest);
    void write(Bytes data);
    /// Throws data unless all of it is proved.
    void finish();
    /// The trailer's word (exit code 3), once finished.
    bool incomplete() const { return incomplete_; }

private:
    Proof proof_;
    std::string digest_;
    LayerStreamChecker checker_;
    StreamDecompressor zstd_;
    Hasher hash_;
    bool incomplete_ = false;
};

} // namespace zl
