/// What dead pushes left on this machine, and what somebody may miss of it.
#pragma once

#include "base/units.hpp"
#include "state/state_db.hpp"

#include <functional>
#include <optional>
#include <string>

namespace zl {

struct DeadPush {
    enum class Kind {
        cut_input, ///< its process died while it read its input: nobody's data
        done,      ///< all of it is stored; its process died before it had removed its spool
        lost,      ///< a row whose spool is not there: not mounted, or lost
        orphan,    ///< a spool without a row: another state database's, or of one that was lost
    } kind = Kind::orphan;
    std::string spool;
    std::string digest;              ///< empty: not known
    std::uint64_t bytes = 0;         ///< of the file
    std::optional<TimePoint> marked; ///< since when it was found like this, without a break
    /// It may be the only copy, or the way to it.
    bool may_be_missed() const { return kind == Kind::lost || kind == Kind::orphan; }
};

enum class Fate {
    keep,
    mark,  ///< note that it is dead now; a sweep that does not find it so takes the mark back
    remove ///< row, spool and mark
};

/// Visits what is dead, each under its lock, so that no living process has it (`lost`: under none
/// if its directory is not there either). A missing @p spool_dir is an empty one. A spool is known
/// by its file name, which is random: the directory may be given in another spelling than it was.
/// Throws io when something cannot be removed.
void sweep_spools(StateDb& db, const std::string& spool_dir,
                  const std::function<Fate(const DeadPush&)>& judge);

} // namespace zl
