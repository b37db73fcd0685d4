/// Turns a name into tar bytes: attributes, xattrs, content of small files. Runs on the prefetch
/// threads and, for what they left open, on the assembling thread.
#pragma once

#include "base/error.hpp"
#include "layer/entry_marks.hpp"
#include "layer/hardlinks.hpp"
#include "layer/lower.hpp"
#include "layer/pack.hpp"
#include "layer/pack_item.hpp"
#include "layer/sparse_map.hpp"

#include <atomic>
#include <functional>
#include <string>
#include <vector>

namespace zl {

/// Files up to this size are read whole by the prefetch threads; bigger ones are streamed.
inline constexpr std::uint64_t kSmallFile = 256 << 10;

/// `permission denied`
std::string errno_text(int err);
/// The refusal of an entry that has its content in a lower layer.
Error needs_lower(const std::string& path, std::string_view mark, bool has_lowers);

/// What one packing run shares between its threads.
struct PackState {
    PackState(const PackOptions& pack_options)
        : options(pack_options), lowers(pack_options.lowers),
          is_overlay_form(pack_options.whiteouts == PackOptions::Whiteouts::overlay) {}
    const PackOptions& options;
    const Lowers lowers;
    Hardlinks links;
    const bool is_overlay_form;
    std::atomic<bool> saw_whiteout_device = false;
    std::atomic<bool> saw_user_overlay = false;
};

/// An opened regular file.
struct OpenFile {
    UniqueFd fd;   ///< attributes
    UniqueFd data; ///< of a metacopy file: where its content is
    FileMeta meta;
    FileMeta data_meta; ///< of what data_fd() is
    bool is_whiteout = false;
    TarHeader header; ///< complete but for a sparse map
    int data_fd() const { return data ? data.get() : fd.get(); }
};

class EntryLoader {
public:
    explicit EntryLoader(PackState& state) : state_(state) {}

    using Reserve = std::function<void(std::size_t)>;
    /// Fills item.result and what belongs to it. @p reserve is called with a size before content of
    /// that size is read. @p read_links: read the content even where an earlier name of the inode
    /// should have it. Throws data where the tree cannot be packed.
    void load(PackItem& item, const Reserve& reserve, bool read_links = false);

    /// Opens and describes item's regular file. no: a note says why. other_type: not regular any
    /// more.
    enum class Opened { yes, no, other_type };
    Opened open_regular(PackItem& item, OpenFile& file);

private:
    void load_by_name(PackItem& item, const Reserve& reserve, bool read_links);
    void load_small(PackItem& item, OpenFile& file);
    void add_sparse(PackItem& item, OpenFile& file, const SparseMap& map);
    void load_other(PackItem& item);
    void add_header(PackItem& item, TarHeader&& header);
    void add_whiteout(PackItem& item);
    bool is_mount_to_skip(PackItem& item) const;
    void open_lower_data(PackItem& item, const EntryMarks& marks, OpenFile& file);

    PackState& state_;
    std::vector<std::byte> scratch_; ///< content
};

/// Makes @p header that of a sparse entry with @p map, whose text is @p map_text.
void set_sparse(TarHeader& header, const SparseMap& map, const std::string& map_text);

TarHeader describe(const FileMeta& meta, TarType type, std::string path,
                   std::vector<Xattr> tar_xattrs);

} // namespace zl
