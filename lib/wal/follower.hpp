/// A copy of a replicated database that is kept up to date, for readers (`mode=ro`).
#pragma once

#include "wal/follow_copy.hpp"
#include "wal/restore_run.hpp"
#include "wal/restore_site.hpp"

#include <optional>
#include <string>

namespace zl {

class Follower {
public:
    /// @p run outlives it. Throws as RestoreSite does.
    Follower(RestoreRun& run, std::string file);

    /// Brings FILE from where it is (absent: from nothing) towards the newest state, by at most
    /// kMaxFollowBytes of segments; false: it is there. Where segments lead no further (retention
    /// was faster, or another generation has begun) the newest state is rebuilt beside FILE and
    /// what differs is applied. Throws data when that does not work either, exists when FILE is not
    /// ours, transient, denied, io: FILE has a consistent state at any time.
    bool step();
    /// Of FILE; 0: absent.
    std::uint64_t sequence() const { return copy_ ? copy_->link().range.last : 0; }
    TimePoint time() const { return copy_ ? copy_->link().time : TimePoint{}; }

private:
    bool first_step();
    bool is_behind();
    bool apply_segments(ReplicaCatalogue& catalogue);
    bool rebuild();
    std::string spool_path() const { return site_.directory() + "/segments"; }

    RestoreRun& run_;
    std::string file_;
    RestoreSite site_;
    std::optional<FollowCopy> copy_;
};

inline constexpr std::uint64_t kMaxFollowBytes = 64 << 20;

} // namespace zl
