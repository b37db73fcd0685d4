#include "transfer/layer_verifier.hpp"

#include "base/error.hpp"

namespace zl {

LayerVerifier::LayerVerifier(Proof proof, std::string digest)
    : proof_(proof), digest_(std::move(digest)) {}

void LayerVerifier::write(Bytes data) {
    if (proof_ == Proof::trailer)
        return checker_.write(data);
    if (proof_ == Proof::raw)
        return hash_.update(data);
    FunctionSink tar([this](Bytes b) { hash_.update(b); });
    zstd_.write(data, tar);
}

void LayerVerifier::finish() {
    std::string got;
    if (proof_ == Proof::trailer) {
        auto r = checker_.finish();
        if (!r.trailer)
            throw Error(ErrorKind::data, "layer stream: no trailer");
        got = r.trailer->digest.hex();
        incomplete_ = r.trailer->incomplete;
    } else {
        if (proof_ == Proof::content && !zstd_.at_frame_end())
            throw Error(ErrorKind::data, "zstd stream ends inside a frame");
        got = hash_.finish().hex();
    }
    if (got != digest_)
        throw Error(ErrorKind::data, "content is sha256:" + got + ", expected sha256:" + digest_);
}

} // namespace zl
