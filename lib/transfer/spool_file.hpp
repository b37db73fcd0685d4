/// The spool of a push as a file: its lock, its proof, its end.
#pragma once

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/report.hpp"
#include "state/state_db.hpp"

#include <optional>
#include <stop_token>
#include <string>

namespace zl {

inline constexpr const char* kSpoolSuffix = ".spool";
inline constexpr const char* kSpoolLockSuffix = ".lock"; ///< behind the spool's whole name

/// The spool cannot be had, or is not what came in (io): there is nothing saved to rely on.
class SpoolError : public Error {
public:
    SpoolError(std::string message, std::string hint)
        : Error(ErrorKind::io, std::move(message), std::move(hint)) {}
};

/// nullopt: a living process has it. Throws SpoolError when its directory is not there.
std::optional<FileLock> lock_spool(const std::string& spool);

/// It is not there. One of which that cannot be known (permission, I/O error) is not lost.
bool is_lost(const std::string& spool);

/// For reading. Throws SpoolError when it is not there.
UniqueFd open_spool(const PushRow& row);

/// Reads all of it. Throws SpoolError when it is not what came in.
void prove_spool(const PushRow& row, int fd, Progress& progress, const std::stop_token& stop);

/// Forgets a push that is done, or whose spool is nobody's data. The caller holds its lock. The
/// spool goes first, durably: whatever dies here leaves a row, never a spool that no row knows.
/// Throws io with both of them left.
void forget_push(StateDb& db, const PushRow& row);

} // namespace zl
