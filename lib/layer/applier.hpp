/// Builds a tree from the entries of a tar, in a directory that is empty and not seen by others (a
/// stage). Nothing is ever looked up by a path from the archive: entries go into a chain of open
/// directories that this run made.
///
///   A1  A directory's owner, mode, xattrs and times are set when the chain leaves it; until then it
///       is 0700, so no default ACL, setgid bit or missing permission touches what is made in it.
///   A2  Own streams have a directory directly before its content and never come back to it. Foreign
///       archives may: then its finished state is read, opened up, and restored at the next leaving.
///   A3  A hard link's target is a name in the stage, opened without following symbolic links; so it
///       was made by this run.
///   A4  Of what overlay xattrs say, only "opaque" and "whiteout" are obeyed, and only where the layer
///       says that it is in overlay form or is foreign: an archive could say the same with `.wh.` names.
///       Otherwise they are a nested overlay's and are escaped on disk. redirect and metacopy point at
///       content outside the layer and are refused.
#pragma once

#include "layer/dir_chain.hpp"
#include "layer/file_attributes.hpp"
#include "layer/overlay_marks.hpp"
#include "layer/tar_entry.hpp"

#include <cstdint>
#include <functional>
#include <set>
#include <stop_token>
#include <string>

namespace zl {

enum class WhiteoutMode {
    overlay, ///< char 0:0 and opaque xattrs: an upper directory
    oci,     ///< the `.wh.` files as they are in the layer
    apply,   ///< delete what they name
};

/// Something that a layer deletes below it, in mode apply.
struct Deletion {
    std::string path;    ///< empty: the root
    bool opaque = false; ///< everything in the directory @ref path; else @ref path itself
};

class Applier {
public:
    struct Options {
        WhiteoutMode whiteouts = WhiteoutMode::overlay;
        bool userxattr = false;  ///< marks in user.overlay.* even where trusted.* is permitted
        bool same_owner = true;
        bool foreign = false;    ///< accept any order, missing parents, directories named twice
        bool partial = false;    ///< the caller leaves entries out: a hard link's target may be missing
    };
    using OnDelete = std::function<void(const Deletion&)>; ///< mode apply
    /// @p stage: the empty directory; outlives this. Expects umask 0.
    Applier(int stage, Options options, OnDelete on_delete, Losses& losses, std::stop_token stop);

    /// Makes @p entry; its content comes from @p content. Throws data for what a layer must not hold,
    /// denied where a mark cannot be written, io, Interrupted.
    void add(TarEntry& entry, EntryReader& content);
    /// After the last entry: completes the directories still open.
    void finish();

    std::uint64_t bytes() const { return bytes_; }
    /// Directories that no entry described, and that have default attributes; the root is ``.
    const std::set<std::string>& implicit_dirs() const { return implicit_; }

private:
    bool live_marks() const { return overlay_form_ || options_.foreign; }
    void enter_parent(std::string_view parent);
    void add_root(TarEntry& entry);
    void add_named(TarEntry& entry, const std::string& name, EntryReader& content);
    bool take_whiteout_name(const TarEntry& entry, std::string_view name);
    void take_overlay_xattrs(TarEntry& entry);
    void whiteout(const std::string& name, const TarEntry& entry);
    void make_whiteout(const std::string& name, const TarEntry& entry);
    void opaque(const TarEntry& entry);
    void make_mark_file(const std::string& name, const TarEntry& like);
    void make_directory(TarEntry& entry, const std::string& name);
    void make_file(const TarEntry& entry, const std::string& name, EntryReader* content);
    void make_symlink(const TarEntry& entry, const std::string& name);
    void make_hardlink(const TarEntry& entry, const std::string& name);
    void make_node(const TarEntry& entry, const std::string& name);
    void make_room(const TarEntry& entry, const std::string& name);

    const int stage_;
    Options options_;
    OnDelete on_delete_;
    Losses& losses_;
    std::stop_token stop_;
    AttributeWriter attributes_;
    OpaqueMarker marker_;
    DirChain chain_;
    std::set<std::string> implicit_{std::string()};
    std::set<std::string> skipped_; ///< not made because we may not (devices)
    std::string link_dir_path_;     ///< where the last hard link pointed, while link_dir_ is open
    UniqueFd link_dir_;
    bool overlay_form_ = false; ///< the archive says marks as on disk (kOverlayFormComment)
    bool first_ = true;
    bool opaque_entry_ = false;   ///< what the entry's xattrs said
    bool whiteout_entry_ = false;
    std::uint64_t bytes_ = 0;
};

} // namespace zl
