/// What the fuzz targets share. A target feeds hostile bytes to a reader: an Error is a right answer,
/// any other exception, a crash, a sanitizer's report, or too much time or memory is a finding.
#pragma once

#include "base/error.hpp"
#include "stream/stream.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

/// libFuzzer's entry (https://llvm.org/docs/LibFuzzer.html): 0, whatever the bytes were.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size);

namespace zl::fuzz {

inline Bytes bytes_of(const unsigned char* data, std::size_t size) {
    return std::as_bytes(std::span(data, size));
}

inline std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class BytesSource final : public Source {
public:
    /// At most @p step bytes a read: a reader must not depend on how its input is cut.
    explicit BytesSource(Bytes bytes, std::size_t step = SIZE_MAX) : left_(bytes), step_(step) {}
    std::size_t read(std::span<std::byte> buffer) override {
        const std::size_t n = std::min({buffer.size(), left_.size(), step_});
        if (n > 0)
            std::memcpy(buffer.data(), left_.data(), n);
        left_ = left_.subspan(n);
        return n;
    }

private:
    Bytes left_;
    std::size_t step_;
};

/// A promise that is broken, not only an input that is refused.
inline void require(bool holds, const std::string& promise) {
    if (holds)
        return;
    std::fprintf(stderr, "broken promise: %s\n", promise.c_str());
    std::abort();
}

/// Runs @p f; the text of its Error, empty when there was none.
template <class F> std::string refusal(F f) {
    try {
        f();
        return {};
    } catch (const Error& e) {
        require(e.kind() != ErrorKind::internal, std::string("no internal error: ") + e.what());
        return *e.what() ? e.what() : "?";
    }
}

} // namespace zl::fuzz
