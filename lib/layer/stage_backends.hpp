/// The two places of a stage (staging.hpp), for staging.cpp only.
#pragma once

#include "layer/journal.hpp"
#include "layer/staging.hpp"

namespace zl {

/// DIR as found.
struct StageTarget {
    std::string dir;    ///< absolute, symbolic links resolved
    std::string parent; ///< of it
    std::string name;
    UniqueFd dir_fd;    ///< empty: DIR does not exist
    UniqueFd parent_fd;
};

/// nullptr: no directory can be made in the parent.
std::unique_ptr<Stage> make_beside_stage(StageTarget& target, const StageOptions& options,
                                         Log& log);
std::unique_ptr<Stage> make_inside_stage(StageTarget& target, const StageOptions& options,
                                         Log& log, Losses& losses);
/// Takes over DIR's journal, @p journal, and finishes its run.
void finish_inside(int dir_fd, const Journal& journal, Log& log, Losses& losses);

/// flock(2) on a directory. True also where the file system has no such locks.
bool try_lock_dir(int fd);
/// 0700, no setgid bit, no ACLs: nothing is inherited from where the stage stands.
void neutralise_dir(int fd);
/// syncfs(2): everything written to the file system of @p fd is durable. Throws io.
void sync_file_system(int fd);

} // namespace zl
