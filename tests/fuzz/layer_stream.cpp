/// A layer stream, or a foreign one: the reader and the checker agree, however the bytes are cut.
#include "fuzz.hpp"
#include "layer/layer_reader.hpp"

#include <vector>

using namespace zl;

int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const Bytes stream = fuzz::bytes_of(data, size);
    std::optional<Trailer> read, checked;
    const auto drain = [&](std::size_t step, bool foreign) {
        return fuzz::refusal([&] {
            fuzz::BytesSource in(stream, step);
            LayerStreamReader reader(in, {1, foreign, 8 << 20});
            std::vector<std::byte> buffer(65536);
            while (reader.read(buffer) > 0) {
            }
            read = reader.finish().trailer;
        });
    };
    const std::string whole = drain(SIZE_MAX, false);
    const std::string foreign = drain(SIZE_MAX, true);
    const std::string cut = drain(5, true);
    fuzz::require(foreign.empty() == cut.empty(), "the same however it is cut");
    fuzz::require(!whole.empty() || foreign.empty(), "what is ours is readable as foreign");
    const std::string unchecked = fuzz::refusal([&] {
        LayerStreamChecker checker;
        checker.write(stream);
        checked = checker.finish().trailer;
    });
    if (whole.empty())
        fuzz::require(unchecked.empty() && checked, "what is read is accepted by a push: " + unchecked);
    return 0;
}
