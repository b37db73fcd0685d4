/// What dead pushes left on this machine: rows and spool files that nobody will finish.
#pragma once

#include "base/report.hpp"
#include "state/state_db.hpp"

#include <functional>
#include <string>

namespace zl {

inline constexpr const char* kSpoolSuffix = ".spool";
inline constexpr const char* kSpoolLockSuffix = ".lock"; ///< behind the spool's whole name

struct DeadPush {
    enum class Kind {
        cut_input,  ///< its process died while it read its input: nobody's data
        lost_spool, ///< a row past that whose spool is gone: it cannot be finished
        orphan,     ///< a file (or a lock) without a row: done but for the last unlink
    } kind = Kind::orphan;
    std::string spool;
    std::string digest;      ///< empty: not known
    std::uint64_t bytes = 0; ///< of the file
};

/// Visits what is dead, each under its lock, so that no living process has it. @p remove answers
/// whether row and file are removed. A missing @p spool_dir is an empty one.
void sweep_spools(StateDb& db, const std::string& spool_dir,
                  const std::function<bool(const DeadPush&)>& remove);

} // namespace zl
