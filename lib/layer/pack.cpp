#include "layer/pack.hpp"

#include "base/error.hpp"
#include "base/handle.hpp"
#include "layer/big_file.hpp"
#include "layer/entry_loader.hpp"
#include "layer/exclude.hpp"
#include "layer/pack_notes.hpp"
#include "layer/prefetch.hpp"
#include "layer/tree_walker.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <thread>

namespace zl {

namespace {

constexpr unsigned kPrefetchThreads = 8;

/// trusted.* xattrs need CAP_SYS_ADMIN in the first user namespace; without it they are not refused
/// but invisible (xattr(7)), so it must be known beforehand.
bool can_see_trusted() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    if (syscall(SYS_capget, &header, data) != 0 ||
        !(data[CAP_SYS_ADMIN / 32].effective & (1u << CAP_SYS_ADMIN % 32)))
        return false;
    constexpr ino_t kFirstUserNamespace = 0xEFFFFFFD; // PROC_USER_INIT_INO
    struct stat ns;
    return stat("/proc/self/ns/user", &ns) != 0 || ns.st_ino == kFirstUserNamespace;
}

UniqueFd open_tree(const std::string& dir) {
    UniqueFd fd(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd && (errno == ENOTDIR || errno == ENOENT || errno == ELOOP))
        throw sys_error(dir).with_kind(ErrorKind::not_found);
    if (!fd)
        throw sys_error(dir);
    return fd;
}

/// The one thread that knows the order: takes loaded entries, finds hard links, writes the tar.
class Assembler {
public:
    Assembler(PackState& state, LayerStreamWriter& out, PackNotes& notes, Progress& progress,
              std::stop_token stop)
        : out_(out), state_(state), notes_(notes), progress_(progress), stop_(std::move(stop)),
          loader_(state), big_(state) {}

    void take(PackBatch& batch) {
        requested_ = 0;
        requests_.clear();
        requests_.resize(batch.items.size());
        for (std::size_t i = 0; i < batch.items.size(); ++i) {
            if (stop_.stop_requested())
                throw Interrupted();
            take_item(batch, i);
        }
    }
    void abort() { big_.abort(); }
    std::uint64_t entries() const { return out_.next_index(); }

private:
    void take_item(PackBatch& batch, std::size_t i) {
        PackItem& item = batch.items[i];
        request_ahead(batch, i);
        if (item.result == PackItem::Result::left_out || !add_hardlink(item)) {
            switch (item.result) {
            case PackItem::Result::left_out:
                break;
            case PackItem::Result::tar:
                add_tar(item);
                break;
            case PackItem::Result::link:
                // The earlier name of this inode did not make it into the archive.
                load_late(item);
                break;
            case PackItem::Result::big:
                add_big(item, big_, requests_[i]);
                break;
            }
        }
        for (const PackNote& note : item.notes)
            notes_.add(note);
    }

    /// Lets the streamer begin with the next big files. It reads in the order of requests and only
    /// so far ahead, so nothing may be asked for before a file that is written earlier: one that
    /// may turn out to be a hard link holds up those behind it until that is known.
    void request_ahead(PackBatch& batch, std::size_t current) {
        for (requested_ = std::max(requested_, current); requested_ < batch.items.size();
             ++requested_) {
            PackItem& item = batch.items[requested_];
            if (item.result != PackItem::Result::big)
                continue;
            if (item.may_be_linked())
                return;
            requests_[requested_] = big_.request(item);
        }
    }

    void begin(const TocEntry& entry, std::uint64_t tar_size) {
        if (state_.options.on_entry)
            state_.options.on_entry(entry);
        out_.begin_entry(entry, tar_size);
    }

    bool add_hardlink(PackItem& item) {
        if (!item.may_be_linked())
            return false;
        const auto first = state_.links.find(item.meta);
        if (!first)
            return false;
        if (item.result == PackItem::Result::big) {
            OpenFile file; // big ones have no header yet
            if (loader_.open_regular(item, file) != EntryLoader::Opened::yes)
                return true;
            item.header = std::move(file.header);
        }
        item.header.type = TarType::hardlink;
        item.header.link = first->path;
        item.header.size = 0;
        item.header.sparse_size.reset();
        std::string tar;
        append_tar_header(tar, item.header);
        TocEntry entry = toc_entry(item);
        entry.type = EntryType::hardlink;
        entry.size = 0;
        entry.link_index = first->toc_index;
        begin(entry, tar.size());
        write(as_bytes(tar));
        out_.end_entry(std::nullopt);
        return true;
    }

    void add_tar(PackItem& item) {
        const std::uint64_t index = out_.next_index();
        begin(toc_entry(item), item.tar.size());
        write(as_bytes(item.tar));
        end_entry(item, index);
    }

    void load_late(PackItem& item) {
        loader_.load(
            item, [](std::size_t) {}, true);
        if (item.result == PackItem::Result::tar)
            add_tar(item);
        if (item.result == PackItem::Result::big) {
            // It has grown. Others may have been asked for already, so it needs a reader of its
            // own.
            BigFileStreamer late(state_);
            add_big(item, late, nullptr);
        }
    }

    void add_big(PackItem& item, BigFileStreamer& big, BigFilePtr file) {
        if (!file)
            file = big.request(item);
        if (!big.wait_described(*file)) {
            item.notes = std::move(file->item.notes);
            return;
        }
        item.meta = file->item.meta;
        std::string head;
        append_tar_header(head, file->header);
        const std::uint64_t padding = tar_padding(file->header.size);
        const std::uint64_t index = out_.next_index();
        begin(toc_entry(item), head.size() + file->header.size + padding);
        head += file->map_text;
        write(as_bytes(head));
        std::vector<std::byte> chunk;
        while (big.next_chunk(*file, chunk)) {
            write(chunk);
            if (stop_.stop_requested())
                throw Interrupted();
        }
        constexpr std::byte kPadding[kTarBlock] = {};
        write(Bytes(kPadding, static_cast<std::size_t>(padding)));
        item.sha256 = file->sha256;
        item.notes = std::move(file->item.notes);
        end_entry(item, index);
    }

    void end_entry(const PackItem& item, std::uint64_t index) {
        const bool has_content = item.toc_type == EntryType::file;
        out_.end_entry(has_content ? std::optional(item.sha256) : std::nullopt);
        if (item.may_be_linked())
            state_.links.record(item, index);
    }

    TocEntry toc_entry(const PackItem& item) const {
        TocEntry entry;
        entry.type = item.toc_type;
        entry.path = item.path();
        if (entry.type == EntryType::file)
            entry.size = item.meta.size;
        return entry;
    }

    void write(Bytes tar) {
        out_.write(tar);
        progress_.advance(static_cast<std::int64_t>(tar.size()));
    }

    LayerStreamWriter& out_;
    PackState& state_;
    PackNotes& notes_;
    Progress& progress_;
    std::stop_token stop_;
    EntryLoader loader_;
    std::vector<BigFilePtr> requests_; ///< by index in the batch
    std::size_t requested_ = 0;        ///< up to here
    BigFileStreamer big_;
};

/// Runs walker, prefetcher and assembler to the end of the tree.
void pack_tree(PackState& state, UniqueFd root, LayerStreamWriter& out, PackNotes& notes,
               Progress& progress, const std::stop_token& stop) {
    const Excludes excludes(state.options.excludes);
    Prefetcher prefetcher(state, kPrefetchThreads);
    Assembler assembler(state, out, notes, progress, stop);
    TreeWalker walker(state, excludes, prefetcher);
    std::thread walking([&] { walker.run(std::move(root)); });
    const auto stop_all = [&] {
        prefetcher.abort();
        assembler.abort();
    };
    const Finally join([&] {
        stop_all();
        walking.join();
    });
    const std::stop_callback on_stop(stop, stop_all);
    while (std::shared_ptr<PackBatch> batch = prefetcher.next()) {
        assembler.take(*batch);
        if (batch->error)
            std::rethrow_exception(batch->error);
        progress.items(assembler.entries(), 0);
        prefetcher.release(std::move(batch));
    }
}

} // namespace

Trailer pack_directory(const PackOptions& options, Sink& out, Log& log, Progress& progress,
                       std::stop_token stop) {
    UniqueFd root = open_tree(options.dir);
    PackState state(options);
    PackNotes notes(options.changed, log);
    LayerStreamWriter writer(out, options.level, options.threads);
    progress.begin("packing", std::nullopt);
    pack_tree(state, std::move(root), writer, notes, progress, stop);
    // Before the trailer: without it nobody takes what was written for a layer.
    if (state.saw_whiteout_device && !state.saw_user_overlay && !options.userxattr &&
        !can_see_trusted())
        throw Error(ErrorKind::denied,
                    options.dir +
                        ": deletions of an overlay are here, but its trusted.* xattrs "
                        "cannot be read: replaced directories would show old content again",
                    "run as root (CAP_SYS_ADMIN), or add --userxattr if the overlay was mounted "
                    "with userxattr");
    return writer.finish(notes.notes());
}

} // namespace zl
