#include "layer/sparse_map.hpp"

#include "layer/tar_writer.hpp"

#include <algorithm>
#include <cstring>

namespace zl {

namespace {

bool is_zero(Bytes block) {
    return block[0] == std::byte{0} &&
           std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

} // namespace

bool is_worth_sparse(const SparseMap& map) {
    return map.hole_size() >= (1 << 20) && map.hole_size() >= map.size / 10;
}

std::string sparse_map_text(const SparseMap& map) {
    // A file that ends in a hole has an empty extent at its end: GNU tar's convention.
    const bool ends_in_hole =
        map.data.empty() || map.data.back().offset + map.data.back().size != map.size;
    std::string text = std::to_string(map.data.size() + (ends_in_hole ? 1 : 0)) + "\n";
    for (const Extent& e : map.data)
        text.append(std::to_string(e.offset)).append("\n").append(std::to_string(e.size)) += '\n';
    if (ends_in_hole)
        text.append(std::to_string(map.size)).append("\n0\n");
    text.append(tar_padding(text.size()), '\0');
    return text;
}

void ZeroScanner::feed(Bytes data) {
    while (!data.empty()) {
        const Bytes block = data.first(std::min<std::size_t>(data.size(), kSparseBlock));
        data = data.subspan(block.size());
        if (!is_zero(block)) {
            end_run();
            run_start_ = position_ + block.size();
        }
        position_ += block.size();
    }
}

void ZeroScanner::skip(std::uint64_t size) {
    position_ += size;
}

void ZeroScanner::end_run() {
    if (position_ - run_start_ < kMinHole)
        return;
    if (run_start_ > data_start_) {
        map_.data.push_back({data_start_, run_start_ - data_start_});
        map_.data_size += run_start_ - data_start_;
    }
    data_start_ = position_;
}

SparseMap ZeroScanner::finish() {
    end_run();
    if (position_ > data_start_) {
        map_.data.push_back({data_start_, position_ - data_start_});
        map_.data_size += position_ - data_start_;
    }
    map_.size = position_;
    return std::move(map_);
}

} // namespace zl
