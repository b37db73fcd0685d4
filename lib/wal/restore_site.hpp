/// The place of a restored database: refuses to overwrite, keeps two runs apart, installs all or
/// nothing. States and what a kill leaves: see wal/restorer.hpp.
#pragma once

#include "base/file.hpp"
#include "base/report.hpp"
#include "base/units.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

/// FILE-wal, FILE-shm and FILE-journal, as far as they exist.
std::vector<std::string> sidecars_of(const std::string& file);
/// Renames @p paths (FILE or its sidecars) to FILE.before-restore-TIMESTAMP and the same with the
/// sidecar's ending, so that they stay a database; durable. Returns the new names.
std::vector<std::string> move_aside(const std::string& file, const std::vector<std::string>& paths,
                                    TimePoint now);

class RestoreSite {
public:
    /// Throws exists (73) when @p file or a sidecar is there and @p existing says refuse (keep: a
    /// follower's, that is not looked at), or the
    /// directory is not there or cannot be written; transient when another restore of it runs, or
    /// when with
    /// force some process has the database open.
    enum class Existing { refuse, force, keep };
    RestoreSite(std::string file, Existing existing);
    RestoreSite(const RestoreSite&) = delete;
    RestoreSite& operator=(const RestoreSite&) = delete;
    ~RestoreSite(); ///< removes the directory

    /// `.FILE.zl-restore`, empty but for the lock.
    const std::string& directory() const { return directory_; }
    /// Sync @p db (in directory()) and give it its name. Returns what was moved aside for it.
    std::vector<std::string> install(const std::string& db);

private:
    std::vector<std::string> existing() const;
    void refuse() const;
    void take_over_attributes(const std::string& db) const;

    std::string file_, directory_;
    Existing mode_;
    std::optional<FileLock> lock_;
};

/// The process that has a lock on the database @p file (SQLite's bytes), if any.
std::optional<long> process_using(const std::string& file);

} // namespace zl
