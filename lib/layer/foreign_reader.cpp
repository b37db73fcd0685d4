#include "layer/foreign_reader.hpp"

#include "base/error.hpp"
#include "base/handle.hpp"
#include "layer/acl_text.hpp"
#include "layer/pax_parse.hpp"
#include "layer/pax_records.hpp"
#include "layer/tar_scanner.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <locale.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <exception>
#include <map>

namespace zl {

namespace {

constexpr std::size_t kChunk = 256 << 10;
constexpr std::uint64_t kMaxId = 0xfffffffe;

/// The input of libarchive, followed by our own scanner. libarchive takes a tar that just stops for a
/// complete one, and guesses whether a hard link has content: where the two do not see the same
/// number of entries, some other reader would see yet another archive (CVE-2025-62518).
class WatchedSource {
public:
    explicit WatchedSource(Source& in) : in_(in), buffer_(kChunk) {}

    /// The next chunk; empty at the end.
    Bytes next() {
        const Bytes chunk = Bytes(buffer_).first(in_.read(buffer_));
        scanner_.write(chunk);
        return chunk;
    }
    /// libarchive is at its end after @p entries entries.
    void finish(std::uint64_t entries) {
        while (!next().empty())
            ;
        scanner_.finish();
        if (scanner_.ambiguous())
            throw Error(ErrorKind::data, "ambiguous tar: unknown entry types, or sizes that "
                                         "contradict each other");
        if (scanner_.entries() != entries)
            throw Error(ErrorKind::data,
                        "ambiguous tar: " + std::to_string(entries) + " entries to one reader, " +
                            std::to_string(scanner_.entries()) + " to another");
    }

private:
    Source& in_;
    std::vector<std::byte> buffer_;
    TarScanner scanner_;
};

/// While it lives, this thread's locale is C: libarchive then leaves names alone. In a UTF-8 locale
/// its reader would compose decomposed names, that is, rename files.
class CLocale {
public:
    CLocale() : c_(::newlocale(LC_ALL_MASK, "C", nullptr)), before_(::uselocale(c_)) {}
    CLocale(const CLocale&) = delete;
    CLocale& operator=(const CLocale&) = delete;
    ~CLocale() {
        ::uselocale(before_);
        ::freelocale(c_);
    }

private:
    locale_t c_;
    locale_t before_;
};

/// `a//b/./c` -> `a/b/c`; the rest is clean_tar_path's to judge.
std::string tidy_path(std::string_view name) {
    std::string out;
    if (name.starts_with('/'))
        out = "/";
    while (!name.empty()) {
        const auto slash = name.find('/');
        const std::string_view part = name.substr(0, slash);
        if (!part.empty() && part != ".") {
            out += part;
            out += '/';
        }
        name.remove_prefix(slash == std::string_view::npos ? name.size() : slash + 1);
    }
    if (out.size() > 1 && out.ends_with('/'))
        out.pop_back();
    return out.empty() ? "." : out;
}

template <typename Int>
std::uint32_t in_range(Int value, std::uint64_t max, const char* what, const TarEntry& e) {
    if (value < 0 || static_cast<std::uint64_t>(value) > max)
        throw Error(ErrorKind::data, "archive entry '" + show_path(e.path) + "': " + what + " " +
                                         std::to_string(value) + " out of range");
    return static_cast<std::uint32_t>(value);
}

/// `%C3%BC` -> `ü`: how libarchive writes names in its second copy of each xattr.
std::string url_decode(std::string_view text) {
    const auto hex = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 &&
            hex(text[i + 2]) >= 0) {
            out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

void read_xattrs(archive_entry* from, TarEntry& e) {
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    std::map<std::string, std::string> found;
    archive_entry_xattr_reset(from);
    while (archive_entry_xattr_next(from, &name, &value, &size) == ARCHIVE_OK) {
        if (!name || !*name || std::string_view(name).size() > kMaxXattrName ||
            size > kMaxXattrValue)
            throw Error(ErrorKind::data, "archive entry '" + show_path(e.path) +
                                             "': xattr name or value too long");
        found[name] = std::string(static_cast<const char*>(value), size);
    }
    for (const auto& [raw, content] : found) {
        const auto twin = found.find(url_decode(raw));
        if (twin != found.end() && twin->first != raw && twin->second == content)
            continue;
        const std::string decoded = decode_xattr_name(raw); // GNU tar's %3D and %25
        if (decoded == raw || !found.contains(decoded))
            e.xattrs.push_back({decoded, content});
    }
}

/// libarchive keeps ids of ACLs as int: larger ones become 0, which is root, or the largest int. The
/// name still has the digits.
std::optional<std::uint32_t> acl_id(int id, const char* name) {
    const std::string_view text = name ? name : "";
    if (!text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos)
        return static_cast<std::uint32_t>(parse_pax_number(text, kMaxId, "id in an ACL"));
    if (id > 0 && id < INT_MAX)
        return static_cast<std::uint32_t>(id);
    return std::nullopt;
}

std::optional<AclTag> acl_tag(int tag) {
    switch (tag) {
    case ARCHIVE_ENTRY_ACL_USER:
        return AclTag::user;
    case ARCHIVE_ENTRY_ACL_USER_OBJ:
        return AclTag::user_obj;
    case ARCHIVE_ENTRY_ACL_GROUP:
        return AclTag::group;
    case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
        return AclTag::group_obj;
    case ARCHIVE_ENTRY_ACL_MASK:
        return AclTag::mask;
    case ARCHIVE_ENTRY_ACL_OTHER:
        return AclTag::other;
    default:
        return std::nullopt;
    }
}

void read_acl(archive_entry* from, int type, std::string_view xattr, TarEntry& e) {
    if (archive_entry_acl_count(from, type) == 0)
        return;
    std::vector<AclEntry> entries;
    std::vector<std::string> lost;
    int entry_type = 0, permset = 0, tag = 0, id = 0;
    const char* name = nullptr;
    archive_entry_acl_reset(from, type);
    while (archive_entry_acl_next(from, type, &entry_type, &permset, &tag, &id, &name) ==
           ARCHIVE_OK) {
        const auto known = acl_tag(tag);
        const bool named = known == AclTag::user || known == AclTag::group;
        const auto number = named ? acl_id(id, name) : std::optional<std::uint32_t>(0);
        if (!known || !number) {
            lost.push_back("ACL entry of " + show_path(name && *name ? name : "root or unknown"));
            continue;
        }
        entries.push_back({*known, static_cast<std::uint16_t>(permset & 7), *number});
        // The mode of a file with an ACL shows the mask as the group's bits; libarchive puts the
        // owning group's own there.
        if (known == AclTag::mask && type == ARCHIVE_ENTRY_ACL_TYPE_ACCESS)
            e.mode = (e.mode & ~070U) | static_cast<std::uint32_t>(permset & 7) << 3;
    }
    for (const auto& x : e.xattrs)
        if (x.name == xattr)
            return; // the raw form is exact
    e.lost.insert(e.lost.end(), lost.begin(), lost.end());
    if (!entries.empty())
        e.xattrs.push_back({std::string(xattr), encode_acl_xattr(std::move(entries))});
}

EntryType entry_type(archive_entry* from, const TarEntry& e) {
    if (archive_entry_hardlink(from))
        return EntryType::hardlink;
    switch (archive_entry_filetype(from)) {
    case AE_IFREG:
        return EntryType::file;
    case AE_IFDIR:
        return EntryType::directory;
    case AE_IFLNK:
        return EntryType::symlink;
    case AE_IFCHR:
        return EntryType::char_device;
    case AE_IFBLK:
        return EntryType::block_device;
    case AE_IFIFO:
        return EntryType::fifo;
    default:
        throw Error(ErrorKind::data,
                    "archive entry '" + show_path(e.path) + "': unknown entry type");
    }
}

class ForeignReader final : public EntryReader {
public:
    explicit ForeignReader(Source& in);
    bool next(TarEntry& entry) override;
    std::optional<Piece> read() override;

private:
    static la_ssize_t on_read(archive*, void* self, const void** block) noexcept;
    /// Throws unless @p rc is a success.
    void check(int rc);
    void fill_entry(archive_entry* from, TarEntry& e);

    WatchedSource in_;
    Handle<archive, archive_read_free> archive_;
    std::exception_ptr failure_; ///< of in_, on its way through libarchive
    bool has_content_ = false; ///< the current entry's was not read to its end
    std::uint64_t size_ = 0;   ///< of the current file
    std::uint64_t end_ = 0;    ///< of what was read of it
    std::uint64_t entries_ = 0;
    bool done_ = false;
};

ForeignReader::ForeignReader(Source& in) : in_(in), archive_(archive_read_new()) {
    const CLocale locale;
    if (!archive_)
        throw Error(ErrorKind::internal, "libarchive: out of memory");
    check(archive_read_support_filter_none(archive_.get()));
    check(archive_read_support_format_tar(archive_.get()));
    check(archive_read_open(archive_.get(), this, nullptr, on_read, nullptr));
}

la_ssize_t ForeignReader::on_read(archive* a, void* self, const void** block) noexcept {
    auto* reader = static_cast<ForeignReader*>(self);
    try {
        const Bytes chunk = reader->in_.next();
        *block = chunk.data();
        return static_cast<la_ssize_t>(chunk.size());
    } catch (...) {
        reader->failure_ = std::current_exception();
        archive_set_error(a, EIO, "input failed");
        return -1;
    }
}

void ForeignReader::check(int rc) {
    if (failure_)
        std::rethrow_exception(failure_);
    if (rc == ARCHIVE_OK || rc == ARCHIVE_EOF)
        return;
    const char* text = archive_error_string(archive_.get());
    const std::string message = text ? text : "unknown error";
    // Raw bytes is what we want; every other warning may hide that the next reader sees another tar.
    if (rc == ARCHIVE_WARN && message.find("can't be converted") != std::string::npos)
        return;
    throw Error(ErrorKind::data, "malformed tar: " + show_path(message));
}

bool ForeignReader::next(TarEntry& entry) {
    if (done_)
        return false;
    const CLocale locale;
    archive_entry* from = nullptr;
    const int rc = archive_read_next_header(archive_.get(), &from);
    check(rc);
    if (rc == ARCHIVE_EOF) {
        done_ = true;
        in_.finish(entries_);
        return false;
    }
    ++entries_;
    fill_entry(from, entry);
    return true;
}

void ForeignReader::fill_entry(archive_entry* from, TarEntry& e) {
    e = TarEntry{};
    const char* path = archive_entry_pathname(from);
    if (!path)
        throw Error(ErrorKind::data, "malformed tar: an entry without a name");
    e.path = clean_tar_path(tidy_path(path));
    e.type = entry_type(from, e);
    if (e.path.empty() && e.type != EntryType::directory)
        throw Error(ErrorKind::data, "malformed tar: the root is not a directory");
    if (e.type == EntryType::hardlink)
        e.link = clean_tar_path(tidy_path(archive_entry_hardlink(from)));
    if (e.type == EntryType::symlink) {
        const char* link = archive_entry_symlink(from);
        e.link = link ? link : "";
        if (e.link.empty())
            throw Error(ErrorKind::data, "archive entry '" + show_path(e.path) +
                                             "': a symbolic link to nothing");
    }
    e.mode = static_cast<std::uint32_t>(archive_entry_perm(from)) & 07777;
    e.uid = in_range(archive_entry_uid(from), kMaxId, "uid", e);
    e.gid = in_range(archive_entry_gid(from), kMaxId, "gid", e);
    e.mtime = archive_entry_mtime(from);
    e.mtime_ns = static_cast<std::uint32_t>(std::clamp(archive_entry_mtime_nsec(from), 0L, 999'999'999L));
    if (e.type == EntryType::char_device || e.type == EntryType::block_device) {
        e.dev_major = in_range(static_cast<std::int64_t>(archive_entry_rdevmajor(from)), 0xfff,
                               "device major", e);
        e.dev_minor = in_range(static_cast<std::int64_t>(archive_entry_rdevminor(from)), 0xfffff,
                               "device minor", e);
    }
    has_content_ = e.type == EntryType::file;
    if (has_content_ && archive_entry_size(from) < 0)
        throw Error(ErrorKind::data, "archive entry '" + show_path(e.path) + "': negative size");
    if (has_content_)
        e.size = static_cast<std::uint64_t>(archive_entry_size(from));
    size_ = e.size;
    end_ = 0;
    read_xattrs(from, e);
    read_acl(from, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, kAclAccess, e);
    read_acl(from, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, kAclDefault, e);
}

std::optional<EntryReader::Piece> ForeignReader::read() {
    const CLocale locale;
    while (has_content_) {
        const void* data = nullptr;
        std::size_t size = 0;
        la_int64_t offset = 0;
        const int rc = archive_read_data_block(archive_.get(), &data, &size, &offset);
        check(rc);
        has_content_ = rc != ARCHIVE_EOF;
        if (!has_content_ || size == 0)
            continue;
        const auto begin = static_cast<std::uint64_t>(offset);
        if (begin < end_ || begin > size_ || size > size_ - begin)
            throw Error(ErrorKind::data, "malformed tar: sparse extents that overlap or lead out");
        end_ = begin + size;
        return Piece{begin, Bytes(static_cast<const std::byte*>(data), size)};
    }
    return std::nullopt;
}

} // namespace

std::unique_ptr<EntryReader> make_foreign_reader(Source& in) {
    return std::make_unique<ForeignReader>(in);
}

} // namespace zl
