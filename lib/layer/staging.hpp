/// Where a layer is unpacked before it is seen, and how it becomes DIR: all or nothing.
///
/// BESIDE: DIR is absent, or an empty directory, and its parent can be written.
///   state                      on disk                                kill -9 leaves, next run
///   b1 filling                 .NAME.zl-unpack-XXXXXXXX, locked       DIR as before; swept
///   b2 verified, syncfs done   the same, durable                      DIR as before; swept
///   b3 renamed over DIR        DIR complete                           DIR complete
///   b4 parent fsynced          DIR complete, durable                  -
///
/// INSIDE: DIR is a mount point, its parent cannot be written, it holds lost+found, or --merge.
///   i1 filling                 DIR/.zl-unpack/tree; .zl-unpack locked DIR as before (plus the stage);
///                                                                     removed
///   i2 verified, planned, syncfs done: tree, `fixups`, `deletions`    the same
///   i3 journal "deleting"      DIR/.zl-incomplete, fsynced            finished: deletions again
///   i4 journal "moving"        deletions done and durable             finished: what is left in tree
///   i5 journal "moved"         all in place and durable               finished: clean-up
///   i6 stage removed, journal removed, DIR fsynced                    -
/// From i3 on the run is decided: everything in it is verified and on disk, so it is finished, never
/// undone, by whoever finds the journal. Until i6 `zl-unpack --check` answers 1.
///
/// Invariants:
///   S1  No change to what DIR held before i3; then only what plan() has checked beforehand.
///   S2  Each step can be repeated. A move repeated finds nothing left to move. Deletions are never
///       repeated once a move was made (i4 is durable before the first move).
///   S3  Directories that are in both are merged; the one in the tree stays as a carrier of owner, mode
///       and xattrs until the end; its time, which moving changes, is in `fixups`.
///   S4  A stage is locked (flock on the directory) while its run lives; only an unlocked one is
///       swept.
/// Crash points: unpack.filled (before syncfs), unpack.staged (before the rename or the journal),
/// unpack.renamed, unpack.journal, unpack.deleted, unpack.moved_one, unpack.fixed, unpack.moved,
/// unpack.cleaned.
#pragma once

#include "layer/applier.hpp"
#include "layer/file_attributes.hpp"

#include <memory>
#include <optional>
#include <set>
#include <string>

namespace zl {

inline constexpr const char* kInsideStage = ".zl-unpack";
inline constexpr const char* kJournalName = ".zl-incomplete";

class Stage {
public:
    virtual ~Stage() = default; ///< removes the stage unless publish() has decided
    /// The empty directory to fill, mode 0700, without ACLs.
    virtual int root() const = 0;
    /// Mode apply: what the layer deletes in DIR.
    virtual void add_deletion(const Deletion& deletion) = 0;
    /// Makes all durable and puts it in place. @p digest of the layer, hex. @p implicit: directories
    /// whose attributes are not the layer's: existing ones keep their own.
    /// Throws exists or denied (nothing changed), io.
    virtual void publish(const std::string& digest, const std::set<std::string>& implicit) = 0;
};

struct StageOptions {
    std::string dir;
    bool merge = false;
    WhiteoutMode whiteouts = WhiteoutMode::overlay;
    bool userxattr = false;
    std::uint32_t new_mode = 0755; ///< of DIR, where neither it nor the layer has one
};

/// Chooses where, sweeps dead stages, makes an empty one. Throws exists: DIR is not empty, or cannot
/// be made; transient: another run is at work in DIR.
/// @p log and @p losses outlive the stage.
std::unique_ptr<Stage> open_stage(const StageOptions& options, Log& log, Losses& losses);

/// If DIR has a journal: finish that run and return the digest of its layer. Throws transient while
/// its run is alive, data if the journal or its stage was tampered with.
std::optional<std::string> finish_interrupted(const std::string& dir, Log& log, Losses& losses);

/// The journal exists: DIR is between two states. Throws not_found if DIR does not exist.
bool is_incomplete(const std::string& dir);

} // namespace zl
