/// What an unpacking inside DIR writes down before it changes DIR (staging.hpp, i3 to i5).
#pragma once

#include "layer/applier.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zl {

struct Journal {
    enum class State { deleting, moving, moved };
    State state = State::moving;
    std::string digest; ///< of the layer, hex
    WhiteoutMode whiteouts = WhiteoutMode::overlay;
    bool userxattr = false;
    /// Modification time of DIR itself: removing the journal changes it.
    std::optional<std::int64_t> mtime;
    std::uint32_t mtime_ns = 0;
};

/// Durable and atomic: written in @p stage_fd (fsync), renamed to .zl-incomplete in @p dir_fd (fsync).
/// Not an AtomicFile: that one's temporary name would be left in DIR by a crash.
void write_journal(int dir_fd, int stage_fd, const Journal& journal);
/// nullopt: there is none. Throws data for one that no zl-unpack wrote.
std::optional<Journal> read_journal(int dir_fd);

/// A directory whose attributes are set after everything was moved.
struct Fixup {
    bool merged = false; ///< it is in the stage's tree too: owner, xattrs and time come from there
    std::uint32_t mode = 0;
    std::int64_t mtime = 0;
    std::uint32_t mtime_ns = 0;
    std::string path; ///< empty: DIR itself
};

/// Lists in the stage, made durable by the syncfs before the journal.
void write_fixups(int stage_fd, const std::vector<Fixup>& fixups);
std::vector<Fixup> read_fixups(int stage_fd);
void write_deletions(int stage_fd, const std::vector<Deletion>& deletions);
std::vector<Deletion> read_deletions(int stage_fd);

} // namespace zl
