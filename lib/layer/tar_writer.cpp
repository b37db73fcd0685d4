#include "layer/tar_writer.hpp"

#include "base/error.hpp"
#include "layer/pax_records.hpp"
#include "layer/posix_acl.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace zl {

namespace {

// Field widths of a ustar header; numbers are octal with a NUL behind them.
constexpr std::size_t kNameSize = 100;
constexpr std::size_t kPrefixSize = 155;
constexpr std::uint64_t kMax7 = 07777777;      // uid, gid, devices
constexpr std::uint64_t kMax11 = 077777777777; // size, mtime: 8 GiB - 1, the year 2242

class Block {
public:
    void text(std::size_t at, std::string_view value) {
        std::memcpy(bytes_.data() + at, value.data(), value.size());
    }
    void octal(std::size_t at, std::size_t digits, std::uint64_t value) {
        for (std::size_t i = digits; i-- > 0; value /= 8)
            bytes_[at + i] = static_cast<char>('0' + value % 8);
    }
    void append_to(std::string& out) {
        text(257, {"ustar\0"
                   "00",
                   8});
        text(148, "        ");
        std::uint64_t sum = 0;
        for (const char c : bytes_)
            sum += static_cast<unsigned char>(c);
        octal(148, 6, sum);
        bytes_[154] = '\0';
        out.append(bytes_.data(), bytes_.size());
    }

private:
    std::array<char, kTarBlock> bytes_{};
};

/// Puts @p path into name and prefix; false: it does not fit, the name is then its first bytes.
bool put_path(Block& block, std::string_view path) {
    if (path.size() <= kNameSize) {
        block.text(0, path);
        return true;
    }
    // The last '/' that may end the prefix; a directory's own trailing slash is no split.
    const std::size_t from = path.size() - kNameSize - 1;
    const std::size_t slash = path.find('/', from);
    if (slash == std::string_view::npos || slash > kPrefixSize || slash == 0 ||
        slash + 1 == path.size()) {
        block.text(0, path.substr(0, kNameSize));
        return false;
    }
    block.text(0, path.substr(slash + 1));
    block.text(345, path.substr(0, slash));
    return true;
}

/// What the ustar name of a sparse entry says, so that a reader without GNU.sparse.* does not take
/// the map and the data for the file.
std::string sparse_stand_in(std::string_view path) {
    const std::string_view base = path.substr(path.rfind('/') + 1);
    constexpr std::string_view kDir = "GNUSparseFile.0/";
    return std::string(kDir).append(base.substr(0, kNameSize - kDir.size()));
}

void append_acl(std::string& pax, const TarHeader& h, std::string_view xattr,
                std::string_view keyword) {
    const auto it = std::ranges::find(h.xattrs, xattr, &Xattr::name);
    if (it == h.xattrs.end())
        return;
    if (const auto text = posix_acl_text(it->value))
        append_pax_record(pax, keyword, *text);
}

void append_number(std::string& pax, std::string_view keyword, std::uint64_t value,
                   std::uint64_t max) {
    if (value > max)
        append_pax_record(pax, keyword, std::to_string(value));
}

bool needs_mtime_record(const TarHeader& h) {
    return h.mtime_ns != 0 || h.mtime < 0 || static_cast<std::uint64_t>(h.mtime) > kMax11;
}

std::string pax_records(const TarHeader& h, bool path_fits) {
    std::string pax;
    if (!h.comment.empty())
        append_pax_record(pax, "comment", h.comment);
    if (!path_fits)
        append_pax_record(pax, "path", h.path);
    if (h.link.size() > kNameSize)
        append_pax_record(pax, "linkpath", h.link);
    append_number(pax, "size", h.size, kMax11);
    append_number(pax, "uid", h.uid, kMax7);
    append_number(pax, "gid", h.gid, kMax7);
    if (needs_mtime_record(h))
        append_pax_record(pax, "mtime", format_pax_time(h.mtime, h.mtime_ns));
    if (h.sparse_size) {
        append_pax_record(pax, "GNU.sparse.major", "1");
        append_pax_record(pax, "GNU.sparse.minor", "0");
        append_pax_record(pax, "GNU.sparse.name", h.path);
        append_pax_record(pax, "GNU.sparse.realsize", std::to_string(*h.sparse_size));
    }
    append_acl(pax, h, "system.posix_acl_access", "SCHILY.acl.access");
    append_acl(pax, h, "system.posix_acl_default", "SCHILY.acl.default");
    for (const Xattr& x : h.xattrs)
        append_pax_record(pax, std::string(kXattrKeyword) + encode_xattr_name(x.name), x.value);
    return pax;
}

void append_extended_header(std::string& out, const std::string& pax) {
    Block block;
    block.text(0, "PaxHeaders/0");
    block.octal(100, 7, 0644);
    block.octal(108, 7, 0);
    block.octal(116, 7, 0);
    block.octal(124, 11, pax.size());
    block.octal(136, 11, 0);
    block.text(156, "x");
    block.octal(329, 7, 0);
    block.octal(337, 7, 0);
    block.append_to(out);
    out.append(pax).append(tar_padding(pax.size()), '\0');
}

} // namespace

void append_tar_header(std::string& out, const TarHeader& h) {
    // Linux: 12 bits and 20 bits.
    if (h.dev_major > kMax7 || h.dev_minor > kMax7)
        throw Error(ErrorKind::internal, "device number does not fit: " + h.path);
    Block block;
    const bool path_fits = put_path(block, h.sparse_size ? sparse_stand_in(h.path) : h.path);
    block.octal(100, 7, h.mode & 07777);
    block.octal(108, 7, std::min<std::uint64_t>(h.uid, kMax7));
    block.octal(116, 7, std::min<std::uint64_t>(h.gid, kMax7));
    block.octal(124, 11, std::min(h.size, kMax11));
    block.octal(136, 11, std::min(h.mtime < 0 ? 0 : static_cast<std::uint64_t>(h.mtime), kMax11));
    block.text(156, {reinterpret_cast<const char*>(&h.type), 1});
    block.text(157, std::string_view(h.link).substr(0, kNameSize));
    block.octal(329, 7, h.dev_major);
    block.octal(337, 7, h.dev_minor);
    const std::string pax = pax_records(h, path_fits);
    if (!pax.empty())
        append_extended_header(out, pax);
    block.append_to(out);
}

} // namespace zl
