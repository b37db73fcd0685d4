/// Proves that the bytes of a pulled object are the layer that was asked for.
#pragma once

#include "stream/stream.hpp"

#include <string>

namespace zl {

/// What proves it. raw: the SHA-256 of the bytes is the digest. content: that of the decompressed
/// content is, whoever wrote the object. trailer: the bytes are those that the trailer was made
/// for, and it says the digest: proof against damage, at less than half the work, but not against
/// somebody who makes a trailer.
enum class LayerProof { raw, trailer, content };

/// Reads @p in to its end, for LayerProof::content on another thread. Throws data unless it is the
/// layer @p digest (64 hex digits). Returns the trailer's word `incomplete` (exit code 3).
bool verify_layer(Source& in, LayerProof proof, const std::string& digest);

} // namespace zl
