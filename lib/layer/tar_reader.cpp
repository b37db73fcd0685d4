#include "layer/tar_reader.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/acl_text.hpp"
#include "layer/pax_parse.hpp"
#include "layer/pax_records.hpp"

#include <algorithm>
#include <cstring>

namespace zl {

namespace {

constexpr std::size_t kBlock = 512;
/// A piece of content never crosses a multiple of this (of the file) unless it begins there, so that
/// zero pages can be told from the pieces alone.
constexpr std::size_t kPage = 4096;
constexpr std::size_t kBuffer = 1 << 20;

[[noreturn]] void malformed(const std::string& what) {
    throw Error(ErrorKind::data, "malformed tar: " + what);
}

std::uint64_t padded(std::uint64_t size) { return (size + kBlock - 1) / kBlock * kBlock; }

/// A field that ends at its first NUL or at its end.
std::string_view text_field(std::string_view block, std::size_t offset, std::size_t size) {
    const std::string_view field = block.substr(offset, size);
    return field.substr(0, field.find('\0'));
}

void check_checksum(std::string_view block) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i)
        sum += static_cast<unsigned char>(i >= 148 && i < 156 ? ' ' : block[i]);
    if (parse_tar_number(block.substr(148, 8), "checksum") != static_cast<std::int64_t>(sum))
        malformed("header checksum does not match");
}

std::uint64_t in_range(std::int64_t value, std::uint64_t max, const char* what) {
    if (value < 0 || static_cast<std::uint64_t>(value) > max)
        malformed(std::string(what) + " " + std::to_string(value) + " out of range, at most " +
                  std::to_string(max));
    return static_cast<std::uint64_t>(value);
}

constexpr std::uint64_t kMaxId = 0xfffffffe; // 2^32-1 means "leave it" to chown(2)
constexpr std::uint64_t kMaxOctalSize = (std::uint64_t{1} << 33) - 1; // 11 octal digits
constexpr std::uint64_t kMaxSize = INT64_MAX - (1 << 20);

} // namespace

/// The fields of a header block, before an extended header overrides them.
struct TarReader::Header {
    char type = 0;
    bool gnu = false;
    std::string path;
    std::string link;
    std::uint64_t size = 0; ///< stored bytes
    std::uint32_t mode = 0;
    std::int64_t uid = 0;
    std::int64_t gid = 0;
    std::int64_t mtime = 0;
    std::int64_t dev_major = 0;
    std::int64_t dev_minor = 0;
};

/// What extended headers said about the entry that follows.
struct TarReader::Extended {
    bool pax = false;
    std::optional<std::string> path;
    std::optional<std::string> link;
    std::optional<std::uint64_t> size;
    std::optional<std::uint32_t> uid;
    std::optional<std::uint32_t> gid;
    std::optional<PaxTime> mtime;
    std::vector<Xattr> xattrs;
    std::optional<std::string> acl_access;
    std::optional<std::string> acl_default;
    std::string comment;
    std::string sparse_major;
    std::string sparse_minor;
    std::optional<std::string> sparse_name;
    std::optional<std::uint64_t> sparse_size;

    void take(const PaxRecord& record);
    void take_sparse(const PaxRecord& record);
    void take_xattr(const PaxRecord& record);
};

TarReader::TarReader(Source& in) : in_(in), buffer_(kBuffer) {}
TarReader::~TarReader() = default;

/// At least one byte and at most @p n, from the buffer; empty at the end of the source. n <= kBuffer.
/// Gives all @p n unless the source ends before.
Bytes TarReader::need(std::size_t n) {
    if (end_ - begin_ < n && !source_ended_) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
        while (end_ < n) {
            const std::size_t got = in_.read(std::span(buffer_).subspan(end_));
            if (got == 0) {
                source_ended_ = true;
                break;
            }
            end_ += got;
        }
    }
    return Bytes(buffer_).subspan(begin_, std::min(n, end_ - begin_));
}

bool TarReader::at_end() { return need(1).empty(); }

/// False at the two zero blocks.
bool TarReader::read_header(Header& h) {
    Bytes raw = need(kBlock);
    if (raw.size() < kBlock)
        throw Error(ErrorKind::data, "truncated tar: it ends without its two zero blocks");
    std::string_view block = as_text(raw);
    if (block.find_first_not_of('\0') == std::string_view::npos) {
        consume(kBlock);
        raw = need(kBlock);
        if (raw.size() < kBlock || as_text(raw).find_first_not_of('\0') != std::string_view::npos)
            malformed("a single zero block");
        consume(kBlock);
        if (!at_end())
            malformed("data after its end");
        return false;
    }
    check_checksum(block);
    const std::string_view magic = block.substr(257, 8);
    h.gnu = magic == std::string_view("ustar  \0", 8);
    if (!h.gnu && magic != std::string_view("ustar\0" "00", 8))
        malformed("unknown magic in a header");
    h.type = block[156];
    h.path = text_field(block, 0, 100);
    const std::string_view prefix = h.gnu ? std::string_view() : text_field(block, 345, 155);
    if (!prefix.empty())
        h.path = std::string(prefix) + "/" + h.path;
    h.link = text_field(block, 157, 100);
    h.mode = static_cast<std::uint32_t>(
        in_range(parse_tar_number(block.substr(100, 8), "mode"), 07777, "mode"));
    h.uid = parse_tar_number(block.substr(108, 8), "uid");
    h.gid = parse_tar_number(block.substr(116, 8), "gid");
    h.size = in_range(parse_tar_number(block.substr(124, 12), "size"), kMaxSize, "size");
    h.mtime = parse_tar_number(block.substr(136, 12), "mtime");
    h.dev_major = parse_tar_number(block.substr(329, 8), "device major");
    h.dev_minor = parse_tar_number(block.substr(337, 8), "device minor");
    consume(kBlock);
    return true;
}

/// The content of an extended header.
std::string TarReader::read_small(std::uint64_t size, const char* what) {
    if (size > kMaxPaxHeader)
        malformed(std::string(what) + " of " + std::to_string(size) + " bytes, at most " +
                  std::to_string(kMaxPaxHeader));
    std::string text;
    for (std::uint64_t left = padded(size); left > 0;) {
        const Bytes got = need(static_cast<std::size_t>(std::min<std::uint64_t>(left, 64 << 10)));
        if (got.empty())
            throw Error(ErrorKind::data, std::string("truncated tar: it ends in a ") + what);
        text.append(as_text(got));
        consume(got.size());
        left -= got.size();
    }
    text.resize(static_cast<std::size_t>(size));
    return text;
}

/// Extended headers up to, and including, the header of the entry itself.
void TarReader::read_extended(Header& h, Extended& ext) {
    for (;;) {
        if (h.type == 'x') {
            if (ext.pax)
                malformed("two extended headers for one entry");
            const std::string text = read_small(h.size, "pax header");
            for (const auto& record : parse_pax_records(text))
                ext.take(record);
            ext.pax = true;
        } else if (h.type == 'g') {
            // One that changed later entries would make their meaning depend on the reader.
            const std::string text = read_small(h.size, "global pax header");
            for (const auto& record : parse_pax_records(text))
                if (record.key != "comment")
                    malformed("global pax header with '" + show_path(record.key) + "'");
        } else if ((h.type == 'L' || h.type == 'K') && h.gnu) {
            std::string text = read_small(h.size, "long name");
            if (text.ends_with('\0'))
                text.pop_back();
            auto& target = h.type == 'L' ? ext.path : ext.link;
            if (target)
                malformed("two long names for one entry");
            target = std::move(text);
        } else {
            return;
        }
        if (!read_header(h))
            malformed("an extended header without its entry");
    }
}

void TarReader::Extended::take(const PaxRecord& r) {
    const std::string_view key = r.key;
    if (key == "path")
        path = r.value;
    else if (key == "linkpath")
        link = r.value;
    else if (key == "size")
        size = parse_pax_number(r.value, kMaxSize, "pax size");
    else if (key == "uid")
        uid = static_cast<std::uint32_t>(parse_pax_number(r.value, kMaxId, "pax uid"));
    else if (key == "gid")
        gid = static_cast<std::uint32_t>(parse_pax_number(r.value, kMaxId, "pax gid"));
    else if (key == "mtime")
        mtime = parse_pax_time(r.value);
    else if (key == "comment")
        comment = r.value;
    else if (key.starts_with(kXattrKeyword))
        take_xattr(r);
    else if (key == "SCHILY.acl.access")
        acl_access = r.value;
    else if (key == "SCHILY.acl.default")
        acl_default = r.value;
    else if (key.starts_with("GNU.sparse."))
        take_sparse(r);
    // Others are for readers that know them (POSIX: vendor keywords); none changes what is here.
}

void TarReader::Extended::take_sparse(const PaxRecord& r) {
    if (r.key == "GNU.sparse.major")
        sparse_major = r.value;
    else if (r.key == "GNU.sparse.minor")
        sparse_minor = r.value;
    else if (r.key == "GNU.sparse.name")
        sparse_name = r.value;
    else if (r.key == "GNU.sparse.realsize")
        sparse_size = parse_pax_number(r.value, kMaxSize, "sparse size");
    else
        malformed("sparse format other than 1.0 (" + show_path(r.key) + ")");
}

void TarReader::Extended::take_xattr(const PaxRecord& r) {
    Xattr x{decode_xattr_name(r.key.substr(kXattrKeyword.size())), std::string(r.value)};
    if (x.name.empty() || x.name.size() > kMaxXattrName ||
        x.name.find('\0') != std::string::npos)
        malformed("xattr name '" + show_path(x.name) + "'");
    if (x.value.size() > kMaxXattrValue)
        malformed("xattr '" + show_path(x.name) + "' of " + std::to_string(x.value.size()) +
                  " bytes, at most 65536");
    for (const auto& other : xattrs) // `a%3D` and `a=` are the same name
        if (other.name == x.name)
            malformed("xattr '" + show_path(x.name) + "' twice");
    xattrs.push_back(std::move(x));
}

namespace {

void add_acl(TarEntry& entry, std::string_view name, const std::optional<std::string>& text) {
    if (!text)
        return;
    for (const auto& x : entry.xattrs)
        if (x.name == name)
            return; // the raw form is exact
    ParsedAcl acl = parse_acl_text(*text);
    for (auto& lost : acl.lost)
        entry.lost.push_back(std::move(lost));
    if (!acl.xattr.empty())
        entry.xattrs.push_back({std::string(name), std::move(acl.xattr)});
}

EntryType entry_type(char flag) {
    switch (flag) {
    case '0':
        return EntryType::file;
    case '1':
        return EntryType::hardlink;
    case '2':
        return EntryType::symlink;
    case '3':
        return EntryType::char_device;
    case '4':
        return EntryType::block_device;
    case '5':
        return EntryType::directory;
    case '6':
        return EntryType::fifo;
    default:
        malformed("unknown entry type '" + show_path({&flag, 1}) + "'");
    }
}

/// Path and link text, with what their type demands of them.
void fill_names(TarEntry& e, const std::string& path, std::string link) {
    e.path = clean_tar_path(path);
    if (e.path.empty() && e.type != EntryType::directory)
        malformed("the root is not a directory"); // CVE-2021-29136
    if (path.ends_with('/') && e.type != EntryType::directory)
        malformed("'" + show_path(path) + "' is not a directory but its name says so");
    if (e.type == EntryType::hardlink) {
        e.link = clean_tar_path(link);
        if (e.link.empty() || e.link == e.path)
            malformed("'" + show_path(path) + "' is a hard link to itself or to the root");
    } else if (e.type == EntryType::symlink) {
        if (link.empty() || link.size() > kMaxTarPath || link.find('\0') != std::string::npos)
            malformed("'" + show_path(path) + "' is a symbolic link to nothing");
        e.link = std::move(link);
    }
}

} // namespace

void TarReader::fill_entry(const Header& h, Extended& ext, TarEntry& e) {
    e = TarEntry{};
    e.type = entry_type(h.type);
    const bool sparse = !ext.sparse_major.empty() || ext.sparse_size || ext.sparse_name;
    if (sparse && (e.type != EntryType::file || ext.sparse_major != "1" ||
                   ext.sparse_minor != "0" || !ext.sparse_size || !ext.sparse_name))
        malformed("sparse format other than 1.0");
    fill_names(e, sparse ? *ext.sparse_name : ext.path.value_or(h.path),
               ext.link.value_or(h.link));
    e.mode = h.mode;
    e.uid = ext.uid ? *ext.uid : static_cast<std::uint32_t>(in_range(h.uid, kMaxId, "uid"));
    e.gid = ext.gid ? *ext.gid : static_cast<std::uint32_t>(in_range(h.gid, kMaxId, "gid"));
    e.mtime = ext.mtime ? ext.mtime->seconds : h.mtime;
    e.mtime_ns = ext.mtime ? ext.mtime->nanoseconds : 0;
    if (e.type == EntryType::char_device || e.type == EntryType::block_device) {
        e.dev_major = static_cast<std::uint32_t>(in_range(h.dev_major, 0xfff, "device major"));
        e.dev_minor = static_cast<std::uint32_t>(in_range(h.dev_minor, 0xfffff, "device minor"));
    }
    e.comment = std::move(ext.comment);
    e.xattrs = std::move(ext.xattrs);
    add_acl(e, kAclAccess, ext.acl_access);
    add_acl(e, kAclDefault, ext.acl_default);
    // Pax beats ustar; but where ustar could have said it, two different sizes are two archives.
    const std::uint64_t stored = ext.size.value_or(h.size);
    if (stored != h.size && stored <= kMaxOctalSize)
        malformed("'" + show_path(e.path) + "' has two sizes");
    if (e.type != EntryType::file && stored != 0)
        malformed("'" + show_path(e.path) + "' has content but is no file");
    padding_ = padded(stored) - stored;
    if (sparse) {
        e.size = *ext.sparse_size;
        read_sparse_map(stored, e.size);
    } else if (stored > 0) {
        e.size = stored;
        extents_.push_back({0, stored});
    }
}

/// Decimal numbers, one a line: count, then offset and size of each extent; padded to a block.
void TarReader::read_sparse_map(std::uint64_t stored, std::uint64_t real) {
    std::uint64_t map_bytes = 0;
    const auto number = [&](const char* what) {
        std::string digits;
        for (;;) {
            const Bytes b = map_bytes < stored ? need(1) : Bytes();
            if (b.empty() || digits.size() > 20)
                malformed("sparse map");
            ++map_bytes;
            const char c = as_text(b)[0];
            consume(1);
            if (c == '\n')
                return parse_pax_number(digits, kMaxSize, what);
            digits += c;
        }
    };
    const std::uint64_t count = number("sparse count");
    if (count > kMaxSparseExtents || count > stored / 4 + 1)
        malformed("sparse map of " + std::to_string(count) + " extents");
    std::uint64_t end = 0;
    std::uint64_t content = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const Extent extent{number("sparse offset"), number("sparse extent")};
        if (extent.offset < end || extent.offset > real || extent.size > real - extent.offset)
            malformed("sparse extents that overlap or lead out of the file");
        end = extent.offset + extent.size;
        content += extent.size;
        if (extent.size > 0)
            extents_.push_back(extent);
    }
    for (; map_bytes % kBlock != 0; ++map_bytes) {
        const Bytes b = need(1);
        if (b.empty() || b[0] != std::byte{0})
            malformed("sparse map padding");
        consume(1);
    }
    if (map_bytes > stored || content != stored - map_bytes)
        malformed("sparse map that does not match the stored size");
}

std::optional<EntryReader::Piece> TarReader::read() {
    if (extent_ == extents_.size())
        return std::nullopt;
    const Extent& extent = extents_[extent_];
    const std::uint64_t left = extent.size - in_extent_;
    const std::uint64_t offset = extent.offset + in_extent_;
    // As much as there is, but at least up to the next page boundary, and ending on one.
    const std::size_t to_page = kPage - offset % kPage;
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, to_page));
    Bytes data = need(wanted);
    if (data.size() < wanted)
        throw Error(ErrorKind::data, "truncated tar: it ends in the content of a file");
    std::size_t size = static_cast<std::size_t>(
        std::min<std::uint64_t>(left, static_cast<std::uint64_t>(end_ - begin_)));
    if (size > wanted && size < left)
        size -= (size - to_page) % kPage;
    data = Bytes(buffer_).subspan(begin_, size);
    consume(size);
    in_extent_ += size;
    if (in_extent_ == extent.size) {
        ++extent_;
        in_extent_ = 0;
    }
    return Piece{offset, data};
}

/// Skip what is left of the current entry, padding included.
void TarReader::finish_content() {
    while (read())
        ;
    extents_.clear();
    extent_ = 0;
    in_extent_ = 0;
    if (padding_ == 0)
        return;
    const Bytes pad = need(static_cast<std::size_t>(padding_));
    if (pad.size() < padding_)
        throw Error(ErrorKind::data, "truncated tar: it ends in the padding of a file");
    if (as_text(pad).find_first_not_of('\0') != std::string_view::npos)
        malformed("padding that is not zero");
    consume(static_cast<std::size_t>(padding_));
    padding_ = 0;
}

bool TarReader::next(TarEntry& entry) {
    if (done_)
        return false;
    finish_content();
    Header header;
    if (!read_header(header)) {
        done_ = true;
        return false;
    }
    Extended extended;
    read_extended(header, extended);
    fill_entry(header, extended, entry);
    return true;
}

} // namespace zl
