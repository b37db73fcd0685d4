/// The table of contents of a layer, as it is after decompression, and the seek table.
#include "fuzz.hpp"
#include "layer/toc.hpp"
#include "stream/seek_table.hpp"

#include <zstd.h>

using namespace zl;

int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    // Behind the compression, which a fuzzer hardly gets through.
    std::string packed(ZSTD_compressBound(size), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), data, size, 1));
    std::uint64_t seen = 0;
    fuzz::refusal([&] {
        read_toc(std::as_bytes(std::span(packed)), [&](std::uint64_t index, const TocEntry&) {
            fuzz::require(index == seen++, "entries are counted");
            return true;
        });
    });
    fuzz::refusal([&] {
        const auto rows = decode_seek_table(fuzz::bytes_of(data, size));
        const std::string again = encode_seek_table(rows);
        fuzz::require(again.size() == size, "a seek table has one form");
    });
    return 0;
}
