#include "transfer/layer_verifier.hpp"

#include "base/error.hpp"
#include "layer/layer_checker.hpp"
#include "layer/layer_reader.hpp"
#include "stream/hash.hpp"

#include <vector>

namespace zl {

namespace {

constexpr std::size_t kStep = 256 << 10;

template <typename Consumer>
void drain(Source& in, Consumer consume) {
    std::vector<std::byte> buffer(kStep);
    while (std::size_t n = in.read(buffer))
        consume(Bytes(buffer.data(), n));
}

} // namespace

bool verify_layer(Source& in, LayerProof proof, const std::string& digest) {
    Digest got;
    std::optional<Trailer> trailer;
    if (proof == LayerProof::raw) {
        Hasher hash;
        drain(in, [&](Bytes b) { hash.update(b); });
        got = hash.finish();
    } else if (proof == LayerProof::trailer) {
        LayerStreamChecker checker;
        drain(in, [&](Bytes b) { checker.write(b); });
        trailer = checker.finish().trailer;
        if (!trailer)
            throw Error(ErrorKind::data, "layer stream: no trailer");
        got = trailer->digest;
    } else {
        LayerStreamReader reader(in, {.foreign = true}); // a trailer is checked if there is one
        auto r = reader.finish();
        trailer = std::move(r.trailer);
        got = r.digest;
    }
    if (got.hex() != digest)
        throw Error(ErrorKind::data,
                    "content is sha256:" + got.hex() + ", expected sha256:" + digest);
    return trailer && trailer->incomplete;
}

} // namespace zl
