#include "layer/chunker.hpp"

#include <algorithm>
#include <array>

namespace zl {

namespace {

/// SplitMix64 (Steele, Lea, Flood 2014): fills the gear table and finishes the path hash.
constexpr std::uint64_t mix(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

constexpr std::array<std::uint64_t, 256> kGear = [] {
    std::array<std::uint64_t, 256> t{};
    for (std::uint64_t i = 0; i < 256; ++i)
        t[i] = mix(i * 0x100000001B3u);
    return t;
}();

std::uint64_t path_hash(std::string_view path) {
    std::uint64_t h = 0xCBF29CE484222325u; // FNV-1a, then mixed: its high bits alone are weak
    for (char c : path)
        h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    return mix(h);
}

/// Normalised chunking: before the target size a cut needs more hash bits than after it.
constexpr std::uint64_t kStrictMask = ~std::uint64_t{0} << (64 - 23);
constexpr std::uint64_t kLooseMask = ~std::uint64_t{0} << (64 - 20);
/// The gear hash depends on the last 64 bytes: so many before kMinFrame are enough.
constexpr std::uint64_t kWarmUp = 64;

} // namespace

bool cut_after_entry(std::uint64_t frame_bytes, std::string_view path,
                     std::uint64_t entry_tar_size) {
    if (frame_bytes < kMinFrame)
        return false;
    if (frame_bytes >= kMaxFrame)
        return true;
    std::uint64_t range = frame_bytes < kTargetFrame ? 3 << 20 : 1 << 20;
    // 2^32 is certain; entry sizes are below kBigFile here, so nothing overflows.
    return (path_hash(path) >> 32) < (entry_tar_size << 32) / range;
}

std::size_t ContentChunker::take(Bytes data) {
    cut_ = false;
    std::size_t i = 0;
    const std::size_t n = data.size();
    if (size_ < kMinFrame - kWarmUp) {
        std::uint64_t skip = kMinFrame - kWarmUp - size_;
        if (skip >= n) {
            size_ += n;
            return n;
        }
        i = static_cast<std::size_t>(skip);
    }
    std::uint64_t at = size_ + i;
    std::uint64_t hash = hash_;
    const std::byte* p = data.data();
    // Rolls on until the frame has `until` bytes; true where the hash says "cut here".
    auto roll = [&](std::uint64_t until, std::uint64_t mask) {
        std::uint64_t room = until > at ? until - at : 0;
        std::size_t stop = i + static_cast<std::size_t>(std::min<std::uint64_t>(n - i, room));
        std::size_t from = i;
        bool hit = false;
        while (i < stop && !hit) {
            hash = (hash << 1) + kGear[std::to_integer<std::size_t>(p[i++])];
            hit = mask && !(hash & mask);
        }
        at += i - from;
        return hit;
    };
    roll(kMinFrame, 0);
    cut_ = roll(kTargetFrame, kStrictMask) || roll(kMaxFrame, kLooseMask) || at >= kMaxFrame;
    hash_ = hash;
    size_ = at;
    return i;
}

} // namespace zl
