#include "layer/tar_header.hpp"

#include "base/error.hpp"
#include "layer/acl_text.hpp"
#include "layer/pax_records.hpp"

namespace zl {

namespace {

constexpr std::string_view kUstarMagic("ustar\00000", 8), kGnuMagic("ustar  \0", 8);
constexpr std::uint64_t kMaxId = 0xfffffffe; // 2^32-1 means "leave it" to chown(2)

/// A field that ends at its first NUL or at its end.
std::string_view text_field(std::string_view block, std::size_t offset, std::size_t size) {
    const std::string_view field = block.substr(offset, size);
    return field.substr(0, field.find('\0'));
}

void check_checksum(std::string_view block) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kTarBlock; ++i)
        sum += static_cast<unsigned char>(i >= 148 && i < 156 ? ' ' : block[i]);
    if (parse_tar_number(block.substr(148, 8), "checksum") != static_cast<std::int64_t>(sum))
        malformed_tar("header checksum does not match");
}

std::uint64_t in_range(std::int64_t value, std::uint64_t max, const char* what) {
    if (value < 0 || static_cast<std::uint64_t>(value) > max)
        malformed_tar(std::string(what) + " " + std::to_string(value) + " out of range, at most " +
                      std::to_string(max));
    return static_cast<std::uint64_t>(value);
}

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
        malformed_tar("unknown entry type '" + show_path({&flag, 1}) + "'");
    }
}

/// Path and link text, with what their type demands of them.
void fill_names(TarEntry& e, const std::string& path, std::string link) {
    e.path = clean_tar_path(path);
    if (e.path.empty() && e.type != EntryType::directory)
        malformed_tar("the root is not a directory"); // CVE-2021-29136
    if (path.ends_with('/') && e.type != EntryType::directory)
        malformed_tar("'" + show_path(path) + "' is not a directory but its name says so");
    if (e.type == EntryType::hardlink) {
        e.link = clean_tar_path(link);
        if (e.link.empty() || e.link == e.path)
            malformed_tar("'" + show_path(path) + "' is a hard link to itself or to the root");
    } else if (e.type == EntryType::symlink) {
        if (link.empty() || link.size() > kMaxTarPath || link.find('\0') != std::string::npos)
            malformed_tar("'" + show_path(path) + "' is a symbolic link to nothing");
        e.link = std::move(link);
    }
}

} // namespace

void malformed_tar(const std::string& what) {
    throw Error(ErrorKind::data, "malformed tar: " + what);
}

HeaderBlock parse_header_block(std::string_view block) {
    HeaderBlock h;
    check_checksum(block);
    const std::string_view magic = block.substr(257, 8);
    h.gnu = magic == kGnuMagic;
    if (!h.gnu && magic != kUstarMagic)
        malformed_tar("unknown magic in a header");
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
    h.size = in_range(parse_tar_number(block.substr(124, 12), "size"), kMaxTarSize, "size");
    h.mtime = parse_tar_number(block.substr(136, 12), "mtime");
    h.dev_major = parse_tar_number(block.substr(329, 8), "device major");
    h.dev_minor = parse_tar_number(block.substr(337, 8), "device minor");
    return h;
}

void ExtendedHeader::take(const PaxRecord& r) {
    const std::string_view key = r.key;
    if (key == "path")
        path = r.value;
    else if (key == "linkpath")
        link = r.value;
    else if (key == "size")
        size = parse_pax_number(r.value, kMaxTarSize, "pax size");
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

void ExtendedHeader::take_sparse(const PaxRecord& r) {
    if (r.key == "GNU.sparse.major")
        sparse_major = r.value;
    else if (r.key == "GNU.sparse.minor")
        sparse_minor = r.value;
    else if (r.key == "GNU.sparse.name")
        sparse_name = r.value;
    else if (r.key == "GNU.sparse.realsize")
        sparse_size = parse_pax_number(r.value, kMaxTarSize, "sparse size");
    else
        malformed_tar("sparse format other than 1.0 (" + show_path(r.key) + ")");
}

void ExtendedHeader::take_xattr(const PaxRecord& r) {
    Xattr x{decode_xattr_name(r.key.substr(kXattrKeyword.size())), std::string(r.value)};
    if (x.name.empty() || x.name.size() > kMaxXattrName || x.name.find('\0') != std::string::npos)
        malformed_tar("xattr name '" + show_path(x.name) + "'");
    if (x.value.size() > kMaxXattrValue)
        malformed_tar("xattr '" + show_path(x.name) + "' of " + std::to_string(x.value.size()) +
                      " bytes, at most 65536");
    for (const auto& other : xattrs) // `a%3D` and `a=` are the same name
        if (other.name == x.name)
            malformed_tar("xattr '" + show_path(x.name) + "' twice");
    xattrs.push_back(std::move(x));
}

TarEntry make_tar_entry(const HeaderBlock& h, ExtendedHeader& ext) {
    TarEntry e;
    e.type = entry_type(h.type);
    const bool sparse = ext.is_sparse();
    if (sparse && (e.type != EntryType::file || ext.sparse_major != "1" ||
                   ext.sparse_minor != "0" || !ext.sparse_size || !ext.sparse_name))
        malformed_tar("sparse format other than 1.0");
    fill_names(e, sparse ? *ext.sparse_name : ext.path.value_or(h.path), ext.link.value_or(h.link));
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
    return e;
}

} // namespace zl
