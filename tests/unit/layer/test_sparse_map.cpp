#include "layer/sparse_map.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace zl;

namespace {

constexpr std::uint64_t K = 1024;

/// Size, and the extents that are not zero.
SparseMap scan(std::uint64_t size, const std::vector<Extent>& data, std::size_t step = 64 * K) {
    std::vector<std::byte> content(size);
    for (const Extent& e : data)
        std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(e.offset), e.size, std::byte{7});
    ZeroScanner scanner;
    for (std::size_t at = 0; at < size; at += step)
        scanner.feed(Bytes(content).subspan(at, std::min<std::size_t>(step, size - at)));
    return scanner.finish();
}

} // namespace

TEST_SUITE("layer/sparse_map") {

    TEST_CASE("an empty file has no extents") {
        const SparseMap map = scan(0, {});
        CHECK(map.data.empty());
        CHECK(map.size == 0);
    }

    TEST_CASE("a run of zeros is a hole from 64 KiB on") {
        CHECK(scan(200 * K, {{0, 4 * K}, {68 * K, 132 * K}}).data ==
              std::vector<Extent>{{0, 4 * K}, {68 * K, 132 * K}});
        CHECK(scan(200 * K, {{0, 4 * K}, {64 * K, 136 * K}}).data ==
              std::vector<Extent>{{0, 200 * K}});
    }

    TEST_CASE("only aligned blocks count") {
        // 64 KiB + 4094 zero bytes that hold 16 whole blocks, and 15 whole blocks.
        CHECK(scan(200 * K, {{0, 4 * K + 1}, {72 * K, 128 * K}}).data ==
              std::vector<Extent>{{0, 8 * K}, {72 * K, 128 * K}});
        CHECK(scan(200 * K, {{0, 4 * K + 1}, {72 * K - 1, 128 * K}}).data ==
              std::vector<Extent>{{0, 200 * K}});
    }

    TEST_CASE("holes at the start, at the end, everywhere") {
        CHECK(scan(200 * K, {{100 * K, 1}}).data == std::vector<Extent>{{100 * K, 4 * K}});
        CHECK(scan(200 * K + 5, {{0, 1}}).data == std::vector<Extent>{{0, 4 * K}});
        const SparseMap all = scan(200 * K + 5, {});
        CHECK(all.data.empty());
        CHECK(all.hole_size() == 200 * K + 5);
    }

    TEST_CASE("the pieces it is fed in do not matter") {
        const std::vector<Extent> data = {{3 * K, 1}, {90 * K, 7 * K}, {300 * K, 1}};
        const SparseMap map = scan(512 * K + 100, data);
        CHECK(map.data.size() == 3);
        for (const std::size_t step : {4 * K, 12 * K, 1024 * K})
            CHECK(scan(512 * K + 100, data, step).data == map.data);
    }

    TEST_CASE("a known hole gives the same map as its zeros") {
        const std::vector<Extent> data = {{0, 4 * K}, {400 * K, 50}};
        std::vector<std::byte> content(500 * K);
        content[0] = content[400 * K] = std::byte{1};
        ZeroScanner scanner;
        scanner.feed(Bytes(content).first(8 * K));
        scanner.skip(392 * K);
        scanner.feed(Bytes(content).subspan(400 * K, 4 * K));
        scanner.skip(96 * K);
        CHECK(scanner.finish().data == scan(500 * K, data).data);
    }

    TEST_CASE("worth it: a mebibyte and a tenth of the file") {
        const auto map = [](std::uint64_t size, std::uint64_t holes) {
            return SparseMap{size, size - holes, {}};
        };
        CHECK(is_worth_sparse(map(1 << 20, 1 << 20)));
        CHECK(!is_worth_sparse(map(1 << 21, (1 << 20) - 1)));
        CHECK(is_worth_sparse(map(10 << 20, 1 << 20)));
        CHECK(!is_worth_sparse(map(11 << 20, 1 << 20)));
    }

    TEST_CASE("map text as GNU tar writes it") {
        const std::string mid = sparse_map_text({300, 150, {{0, 100}, {250, 50}}});
        CHECK(mid.size() == 512);
        CHECK(std::string(mid.c_str()) == "2\n0\n100\n250\n50\n");
        const std::string tail = sparse_map_text({300, 100, {{0, 100}}});
        CHECK(std::string(tail.c_str()) == "2\n0\n100\n300\n0\n");
        CHECK(std::string(sparse_map_text({300, 0, {}}).c_str()) == "1\n300\n0\n");
    }

} // suite
