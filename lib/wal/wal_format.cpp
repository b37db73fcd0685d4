#include "wal/wal_format.hpp"

#include "base/endian.hpp"
#include "base/error.hpp"

#include <array>

namespace zl {

namespace {

constexpr std::uint32_t kMagic = 0x377f0682; // | 1: the checksums are big endian
constexpr std::uint32_t kVersion = 3007000;

std::uint32_t get_be32(const std::byte* p) {
    return std::to_integer<std::uint32_t>(p[0]) << 24 | std::to_integer<std::uint32_t>(p[1]) << 16 |
           std::to_integer<std::uint32_t>(p[2]) << 8 | std::to_integer<std::uint32_t>(p[3]);
}

void put_be32(std::byte* p, std::uint32_t v) {
    for (int i = 0; i < 4; ++i)
        p[i] = static_cast<std::byte>(v >> (8 * (3 - i)));
}

} // namespace

bool valid_page_size(std::uint32_t n) {
    return n >= 512 && n <= 65536 && (n & (n - 1)) == 0;
}

void WalChecksum::update(Bytes data, bool big_endian) {
    const std::byte* p = data.data();
    std::uint32_t a = s1, b = s2;
    if (big_endian) {
        for (std::size_t i = 0; i + 8 <= data.size(); i += 8) {
            a += get_be32(p + i) + b;
            b += get_be32(p + i + 4) + a;
        }
    } else {
        for (std::size_t i = 0; i + 8 <= data.size(); i += 8) {
            a += get_le32(p + i) + b;
            b += get_le32(p + i + 4) + a;
        }
    }
    s1 = a;
    s2 = b;
}

std::optional<WalHeader> parse_wal_header(Bytes bytes) {
    if (bytes.size() < kWalHeaderSize)
        return std::nullopt;
    const std::byte* p = bytes.data();
    std::uint32_t magic = get_be32(p);
    WalHeader h;
    h.big_endian = magic & 1;
    h.page_size = get_be32(p + 8);
    if ((magic & ~1U) != kMagic || get_be32(p + 4) != kVersion || !valid_page_size(h.page_size))
        return std::nullopt;
    h.checkpoint_sequence = get_be32(p + 12);
    h.salt = {get_be32(p + 16), get_be32(p + 20)};
    h.checksum.update(bytes.first(24), h.big_endian);
    if (h.checksum != WalChecksum{get_be32(p + 24), get_be32(p + 28)})
        return std::nullopt;
    return h;
}

WalFrame parse_wal_frame(Bytes bytes) {
    if (bytes.size() < kWalFrameHeaderSize)
        throw Error(ErrorKind::internal, "parse_wal_frame: " + std::to_string(bytes.size()) +
                                             " bytes, at least 24 are needed");
    const std::byte* p = bytes.data();
    WalFrame f;
    f.page = get_be32(p);
    f.commit = get_be32(p + 4);
    f.salt = {get_be32(p + 8), get_be32(p + 12)};
    f.checksum = {get_be32(p + 16), get_be32(p + 20)};
    return f;
}

void chain_frame(WalChecksum& checksum, Bytes frame_header, Bytes page, bool big_endian) {
    checksum.update(frame_header.first(8), big_endian);
    checksum.update(page, big_endian);
}

WalBuilder::WalBuilder(Sink& out, std::uint32_t page_size, WalSalt salt,
                       std::uint32_t checkpoint_sequence)
    : out_(out), page_size_(page_size), salt_(salt) {
    if (!valid_page_size(page_size))
        throw Error(ErrorKind::internal, "WalBuilder: page size " + std::to_string(page_size));
    std::array<std::byte, kWalHeaderSize> h{};
    put_be32(&h[0], kMagic);
    put_be32(&h[4], kVersion);
    put_be32(&h[8], page_size);
    put_be32(&h[12], checkpoint_sequence);
    put_be32(&h[16], salt.s1);
    put_be32(&h[20], salt.s2);
    checksum_.update(Bytes(h).first(24), false);
    put_be32(&h[24], checksum_.s1);
    put_be32(&h[28], checksum_.s2);
    out_.write(h);
}

void WalBuilder::frame(std::uint32_t page, std::uint32_t commit, Bytes data) {
    if (data.size() != page_size_ || page == 0)
        throw Error(ErrorKind::internal, "WalBuilder: page " + std::to_string(page) + " of " +
                                             std::to_string(data.size()) + " bytes");
    std::array<std::byte, kWalFrameHeaderSize> h{};
    put_be32(&h[0], page);
    put_be32(&h[4], commit);
    put_be32(&h[8], salt_.s1);
    put_be32(&h[12], salt_.s2);
    chain_frame(checksum_, h, data, false);
    put_be32(&h[16], checksum_.s1);
    put_be32(&h[20], checksum_.s2);
    out_.write(h);
    out_.write(data);
}

} // namespace zl
