#include "layer/tar_scanner.hpp"

#include "base/error.hpp"
#include "base/file.hpp"

#include <algorithm>
#include <cstring>

namespace zl {

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMaxPax = 16 << 20;

Error bad(const std::string& why) {
    return Error(ErrorKind::data, "tar: " + why);
}

/// Octal, or GNU's base-256 (first bit set). POSIX.1-2017 pax, "ustar Interchange Format".
std::uint64_t number(const std::byte* field, std::size_t size) {
    auto byte = [&](std::size_t i) { return std::to_integer<unsigned>(field[i]); };
    std::uint64_t v = 0;
    if (byte(0) & 0x80) {
        if (byte(0) & 0x40)
            throw bad("negative size");
        v = byte(0) & 0x3F;
        for (std::size_t i = 1; i < size; ++i) {
            if (v >> 55)
                throw bad("size above 2^63");
            v = v << 8 | byte(i);
        }
        return v;
    }
    for (std::size_t i = 0; i < size; ++i) {
        char c = static_cast<char>(byte(i));
        if (c == ' ' || c == '\0') {
            if (v)
                break;
            continue;
        }
        if (c < '0' || c > '7')
            throw bad("a header's number is not octal");
        v = v * 8 + static_cast<std::uint64_t>(c - '0');
    }
    return v;
}

std::uint64_t padded(std::uint64_t n) {
    return (n + kBlock - 1) / kBlock * kBlock;
}

/// The last `size` record of a pax header's content.
std::optional<std::uint64_t> pax_size(const std::string& pax) {
    std::optional<std::uint64_t> out;
    std::size_t at = 0;
    while (at < pax.size()) {
        std::size_t space = pax.find(' ', at);
        std::size_t length = 0;
        if (space == std::string::npos || space == at || space - at > 8)
            throw bad("malformed pax header");
        for (std::size_t i = at; i < space; ++i) {
            if (pax[i] < '0' || pax[i] > '9')
                throw bad("malformed pax header");
            length = length * 10 + static_cast<std::size_t>(pax[i] - '0');
        }
        if (length < space - at + 2 || length > pax.size() - at || pax[at + length - 1] != '\n')
            throw bad("malformed pax header");
        std::string_view record = std::string_view(pax).substr(space + 1, at + length - space - 2);
        // C programs end the name there, others do not: no two readers would agree on it.
        if ((record.starts_with("path=") || record.starts_with("linkpath=")) &&
            record.find('\0') != std::string_view::npos)
            throw bad("a name with a NUL");
        if (record.starts_with("size=")) {
            std::uint64_t v = 0;
            for (char c : record.substr(5)) {
                if (c < '0' || c > '9' || v > UINT64_MAX / 20)
                    throw bad("malformed pax size");
                v = v * 10 + static_cast<std::uint64_t>(c - '0');
            }
            out = v;
        }
        at += length;
    }
    return out;
}

bool checksum_fits(const std::byte* h) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i)
        sum += i >= 148 && i < 156 ? ' ' : std::to_integer<unsigned>(h[i]);
    return number(h + 148, 8) == sum;
}

} // namespace

void TarScanner::header(const std::byte* h) {
    if (!checksum_fits(h))
        throw bad("header checksum is wrong: not a tar, or damaged");
    char type = static_cast<char>(std::to_integer<unsigned char>(h[156]));
    std::uint64_t size = number(h + 124, 12);
    if (type == 'x' || type == 'g') {
        if (size > kMaxPax)
            throw bad("pax header of " + std::to_string(size) + " bytes");
        pax_.clear();
        pax_left_ = size;
        pax_is_global_ = type == 'g';
        skip_ = padded(size);
        return;
    }
    if (type == 'L' || type == 'K') { // GNU long name, long link name
        skip_ = padded(size);
        return;
    }
    if (pax_size_) {
        constexpr std::uint64_t kMaxOctal = (std::uint64_t{1} << 33) - 1; // 11 digits
        ambiguous_ = ambiguous_ || (size != *pax_size_ && *pax_size_ <= kMaxOctal);
        size = *pax_size_;
    }
    pax_size_.reset();
    ++entries_;
    constexpr std::string_view kKnown("\0"
                                      "01234567SVMND",
                                      14); // POSIX, V7, GNU
    ambiguous_ = ambiguous_ || (type >= '1' && type <= '6' && size != 0) ||
                 kKnown.find(type) == std::string_view::npos;
    // Links, devices, directories and fifos have no content whatever their size field says.
    bool content =
        type == '0' || type == '\0' || type == '7' || type == 'S' || !(type >= '1' && type <= '6');
    if (size > UINT64_MAX / 4)
        throw bad("entry of " + std::to_string(size) + " bytes");
    if (type == 'S' && h[482] != std::byte{0}) { // old GNU sparse: extension blocks come first
        sparse_extension_ = true;
        after_extension_ = padded(size);
    } else {
        skip_ = content ? padded(size) : 0;
    }
}

void TarScanner::block(const std::byte* b) {
    if (sparse_extension_) {
        sparse_extension_ = b[504] != std::byte{0};
        if (!sparse_extension_)
            skip_ = after_extension_;
        return;
    }
    bool zero = std::all_of(b, b + kBlock, [](std::byte x) { return x == std::byte{0}; });
    if (zero) {
        ++zero_blocks_;
        return;
    }
    if (zero_blocks_)
        throw bad(zero_blocks_ > 1 ? "data after its end" : "a lone zero block before its end");
    header(b);
}

void TarScanner::write(Bytes data) {
    while (!data.empty()) {
        if (skip_) {
            auto n = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, data.size()));
            auto p = static_cast<std::size_t>(std::min<std::uint64_t>(pax_left_, n));
            pax_ += as_text(data.first(p));
            pax_left_ -= p;
            skip_ -= n;
            if (p && !pax_left_) {
                const auto found = pax_size(pax_);
                if (pax_is_global_)
                    ambiguous_ = ambiguous_ || found.has_value();
                else
                    pax_size_ = found;
            }
            data = data.subspan(n);
            continue;
        }
        std::size_t n = std::min(kBlock - partial_size_, data.size());
        std::memcpy(partial_.data() + partial_size_, data.data(), n);
        partial_size_ += n;
        data = data.subspan(n);
        if (partial_size_ == kBlock) {
            partial_size_ = 0;
            block(partial_.data());
        }
    }
}

void TarScanner::finish() const {
    if (skip_ || partial_size_ || sparse_extension_)
        throw bad("ends inside an entry");
    if (zero_blocks_ < 2)
        throw bad("ends without its two zero blocks: its producer died, or the stream was cut");
}

} // namespace zl
