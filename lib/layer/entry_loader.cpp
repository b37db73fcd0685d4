#include "layer/entry_loader.hpp"

#include "layer/overlay_marks.hpp"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace zl {

namespace {

void add_note(PackItem& item, PackNote::Kind kind, std::string reason) {
    item.notes.push_back({kind, item.path(), std::move(reason)});
}

/// Extended header, its block, header, padding.
constexpr std::size_t kUsualHeaders = 4 * kTarBlock;

/// For an entry that cannot be opened or looked at.
void add_errno_note(PackItem& item, int err) {
    if (err == ENOENT)
        add_note(item, PackNote::Kind::plain, "vanished before it was read");
    else
        add_note(item, PackNote::Kind::unreadable, "unreadable: " + errno_text(err));
}

/// Fills @p buffer from the start of the file; what is missing at its end stays zero.
/// 0, or errno.
int read_content(int fd, std::span<std::byte> buffer) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const ssize_t n =
            pread(fd, buffer.data() + done, buffer.size() - done, static_cast<off_t>(done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            break;
        done += static_cast<std::size_t>(n);
    }
    std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(done), buffer.end(), std::byte{0});
    return 0;
}

struct NodeType {
    TarType tar;
    EntryType toc;
};
std::optional<NodeType> node_type(std::uint32_t mode) {
    switch (mode & S_IFMT) {
    case S_IFLNK:
        return NodeType{TarType::symlink, EntryType::symlink};
    case S_IFCHR:
        return NodeType{TarType::char_device, EntryType::char_device};
    case S_IFBLK:
        return NodeType{TarType::block_device, EntryType::block_device};
    case S_IFIFO:
        return NodeType{TarType::fifo, EntryType::fifo};
    default:
        return std::nullopt;
    }
}

} // namespace

std::string errno_text(int err) {
    // sys_error words it; its message is "x: reason".
    return sys_error("x", err).message().substr(3);
}

Error needs_lower(const std::string& path, std::string_view mark, bool has_lowers) {
    const std::string what =
        path + ": its content is in a lower layer (overlay." + std::string(mark) + ")";
    if (has_lowers)
        return Error(ErrorKind::data, what + " and none of the given lower directories has it",
                     "give every lower layer of the mount with --lower DIR, topmost first");
    return Error(ErrorKind::data, what,
                 "add --lower DIR for every lower layer, topmost first, or mount the overlay with "
                 "redirect_dir=off,metacopy=off");
}

void set_sparse(TarHeader& header, const SparseMap& map, const std::string& map_text) {
    header.sparse_size = map.size;
    header.size = map_text.size() + map.data_size;
}

TarHeader describe(const FileMeta& meta, TarType type, std::string path,
                   std::vector<Xattr> tar_xattrs) {
    TarHeader h;
    h.type = type;
    h.path = std::move(path);
    h.mode = meta.mode & 07777;
    h.uid = meta.uid;
    h.gid = meta.gid;
    h.mtime = meta.mtime;
    h.mtime_ns = meta.mtime_ns;
    if (type == TarType::char_device || type == TarType::block_device) {
        h.dev_major = meta.dev_major;
        h.dev_minor = meta.dev_minor;
    }
    h.xattrs = std::move(tar_xattrs);
    return h;
}

void EntryLoader::load(PackItem& item, const Reserve& reserve, bool read_links) {
    item.result = PackItem::Result::left_out;
    switch (item.kind) {
    case PackItem::Kind::by_name:
        load_by_name(item, reserve, read_links);
        break;
    case PackItem::Kind::directory:
        item.toc_type = EntryType::directory;
        item.header =
            describe(item.meta, TarType::directory, item.path() + "/", std::move(item.xattrs));
        item.header.comment = item.comment;
        add_header(item, std::move(item.header));
        break;
    case PackItem::Kind::whiteout:
    case PackItem::Kind::opaque:
        add_whiteout(item);
        break;
    case PackItem::Kind::note:
        break;
    }
    if (item.result != PackItem::Result::big && item.result != PackItem::Result::link)
        item.dir.reset();
}

/// The header alone; a file's content follows.
void EntryLoader::add_header(PackItem& item, TarHeader&& header) {
    append_tar_header(item.tar, header);
    item.result = PackItem::Result::tar;
    if (item.may_be_linked())
        item.header = std::move(header);
}

/// The same bytes for every whiteout: the kernel's own are hard links of one inode, whose owner and
/// times say nothing.
void EntryLoader::add_whiteout(PackItem& item) {
    const bool is_opaque = item.kind == PackItem::Kind::opaque;
    item.meta = FileMeta{};
    TarHeader header;
    if (state_.is_overlay_form) {
        header.type = TarType::char_device;
        item.toc_type = EntryType::char_device;
    } else {
        item.name = is_opaque ? std::string(kOpaqueName) : make_wh_name(item.name);
        item.toc_type = is_opaque ? EntryType::opaque : EntryType::whiteout;
    }
    header.path = item.path();
    add_header(item, std::move(header));
}

bool EntryLoader::is_mount_to_skip(PackItem& item) const {
    if (!state_.options.one_file_system || !item.meta.is_mount_root)
        return false;
    add_note(item, PackNote::Kind::plain, "mount point");
    return true;
}

void EntryLoader::load_by_name(PackItem& item, const Reserve& reserve, bool read_links) {
    if (item.type != DT_REG) {
        load_other(item);
        if (item.type != DT_REG)
            return;
    }
    OpenFile file;
    switch (open_regular(item, file)) {
    case Opened::no:
        return;
    case Opened::other_type:
        item.type = DT_UNKNOWN;
        load_other(item);
        if (item.type == DT_REG)
            add_note(item, PackNote::Kind::changed, "changed its type while it was read");
        return;
    case Opened::yes:
        break;
    }
    if (is_mount_to_skip(item))
        return;
    if (file.is_whiteout) {
        if (!item.dir->hides_whiteouts)
            add_whiteout(item);
        return;
    }
    item.toc_type = EntryType::file;
    if (file.meta.size > kSmallFile) {
        item.result = PackItem::Result::big;
        return;
    }
    if (item.may_be_linked() && !read_links && !state_.links.claim(item)) {
        item.header = std::move(file.header);
        item.result = PackItem::Result::link;
        return;
    }
    reserve(file.meta.size);
    load_small(item, file);
}

EntryLoader::Opened EntryLoader::open_regular(PackItem& item, OpenFile& file) {
    const int dir_fd = item.dir->fd.get();
    const int err = open_at(dir_fd, item.name.c_str(), 0, file.fd);
    if (err == ELOOP || err == ENXIO || err == ENODEV) // a symlink, socket or device is here now
        return Opened::other_type;
    int stat_err = 0;
    if (err != 0 || (stat_err = stat_at(file.fd.get(), "", file.meta)) != 0) {
        add_errno_note(item, err ? err : stat_err);
        return Opened::no;
    }
    if (!S_ISREG(file.meta.mode))
        return Opened::other_type;
    std::vector<Xattr> xattrs;
    if (const int e = read_xattrs(file.fd.get(), xattrs))
        add_note(item, PackNote::Kind::unreadable, "xattrs unreadable: " + errno_text(e));
    const EntryMarks marks = read_marks(xattrs);
    if (marks.has_user_overlay)
        state_.saw_user_overlay = true;
    file.is_whiteout = marks.is_xattr_whiteout && file.meta.size == 0 && !state_.is_overlay_form;
    file.data_meta = file.meta;
    if (marks.is_metacopy)
        open_lower_data(item, marks, file);
    std::vector<Xattr> tar_xattrs = xattrs_to_tar(std::move(xattrs), state_.is_overlay_form);
    // Resolved or without meaning: redirect says where a metacopy's data is.
    std::erase_if(tar_xattrs, [&](const Xattr& x) {
        const OverlayXattr kind = classify_overlay_xattr(x.name);
        return state_.is_overlay_form &&
               (kind == OverlayXattr::metacopy || kind == OverlayXattr::redirect);
    });
    file.header = describe(file.meta, TarType::file, item.path(), std::move(tar_xattrs));
    file.header.size = file.meta.size;
    item.meta = file.meta;
    return Opened::yes;
}

void EntryLoader::open_lower_data(PackItem& item, const EntryMarks& marks, OpenFile& file) {
    if (state_.lowers.empty() ||
        !state_.lowers.open_data(*item.dir, item.name, marks.redirect, file.data))
        throw needs_lower(item.path(), "metacopy", !state_.lowers.empty());
    if (const int err = stat_at(file.data.get(), "", file.data_meta))
        throw sys_error(item.path() + ": data in the lower layer", err);
    if (file.data_meta.size != file.meta.size)
        throw Error(ErrorKind::data,
                    item.path() + ": its data in the lower layer has " +
                        std::to_string(file.data_meta.size) + " bytes, expected " +
                        std::to_string(file.meta.size),
                    "give the lower layers that this upper directory was used with");
}

void EntryLoader::load_small(PackItem& item, OpenFile& file) {
    bool is_stable = false;
    for (int attempt = 0;; ++attempt) {
        scratch_.resize(static_cast<std::size_t>(file.meta.size));
        FileMeta after;
        int err = read_content(file.data_fd(), scratch_);
        if (err == 0)
            err = stat_at(file.data_fd(), "", after);
        if (err != 0) {
            add_note(item, PackNote::Kind::unreadable, "unreadable: " + errno_text(err));
            return;
        }
        is_stable = is_same_version(file.data_meta, after);
        if (is_stable || attempt == 1 || after.size > kSmallFile)
            break;
        // A writer that renames or writes once is done by now: take the newer version whole.
        OpenFile again;
        if (open_regular(item, again) != Opened::yes)
            break;
        if (again.meta.size > kSmallFile || again.is_whiteout)
            break;
        file = std::move(again);
    }
    if (!is_stable)
        add_note(item, PackNote::Kind::changed, "changed while it was read");
    if (state_.options.sparse == PackOptions::Sparse::always) {
        ZeroScanner scanner;
        scanner.feed(scratch_);
        const SparseMap map = scanner.finish();
        if (map.hole_size() != 0)
            return add_sparse(item, file, map);
    }
    item.sha256 = sha256(scratch_);
    item.tar.reserve(scratch_.size() + kUsualHeaders);
    add_header(item, std::move(file.header));
    item.tar.append(as_text(scratch_)).append(tar_padding(scratch_.size()), '\0');
}

void EntryLoader::add_sparse(PackItem& item, OpenFile& file, const SparseMap& map) {
    const std::string map_text = sparse_map_text(map);
    set_sparse(file.header, map, map_text);
    const std::uint64_t padding = tar_padding(file.header.size);
    add_header(item, std::move(file.header));
    const std::size_t data_at = item.tar.size();
    item.tar += map_text;
    for (const Extent& e : map.data)
        item.tar += as_text(Bytes(scratch_).subspan(e.offset, e.size));
    item.sha256 = sha256(as_bytes(item.tar).subspan(data_at));
    item.tar.append(padding, '\0');
}

void EntryLoader::load_other(PackItem& item) {
    const int dir_fd = item.dir->fd.get();
    if (const int err = stat_at(dir_fd, item.name.c_str(), item.meta))
        return add_errno_note(item, err);
    if (S_ISREG(item.meta.mode)) {
        item.type = DT_REG;
        return;
    }
    if (is_mount_to_skip(item))
        return;
    if (S_ISSOCK(item.meta.mode))
        return add_note(item, PackNote::Kind::plain, "socket");
    if (is_whiteout_device(item.meta.mode, item.meta.dev_major, item.meta.dev_minor)) {
        // Made since the directory was read, or the file system does not tell types.
        state_.saw_whiteout_device = true;
        if (!item.dir->hides_whiteouts)
            add_whiteout(item);
        return;
    }
    const auto type = node_type(item.meta.mode);
    if (!type)
        return add_note(item, PackNote::Kind::changed, "changed its type while it was read");
    std::vector<Xattr> xattrs;
    if (const int err = read_xattrs_at(dir_fd, item.name.c_str(), xattrs))
        add_note(item, PackNote::Kind::unreadable, "xattrs unreadable: " + errno_text(err));
    item.toc_type = type->toc;
    TarHeader header = describe(item.meta, type->tar, item.path(),
                                xattrs_to_tar(std::move(xattrs), state_.is_overlay_form));
    if (type->tar == TarType::symlink)
        if (const int err = read_link_at(dir_fd, item.name.c_str(), header.link))
            return add_errno_note(item, err);
    add_header(item, std::move(header));
}

} // namespace zl
