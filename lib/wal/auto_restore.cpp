#include "base/error.hpp"
#include "base/file.hpp"
#include "wal/restore_site.hpp"
#include "wal/restorer.hpp"

#include <sys/stat.h>
#include <unistd.h>

namespace zl {

namespace {

/// Nothing was ever in it: some applications and images create the file first.
bool is_blank(const std::string& file) {
    struct stat st {};
    return ::lstat(file.c_str(), &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
}

bool has_wal(const std::string& file) {
    struct stat st {};
    const std::string wal = file + "-wal";
    return path_exists(wal) && ::lstat(wal.c_str(), &st) == 0 && st.st_size > 0;
}

/// Without their database they are not to be applied to whatever comes in its place.
void clear_sidecars(const std::string& file, Log& log) {
    for (const std::string& path : move_aside(file, sidecars_of(file), now_wall()))
        log.warn(file + " is absent; what lay beside it is now " + path);
}

} // namespace

AutoRestore auto_restore(Restorer& restorer, const std::string& file, Log& log) {
    const bool blank = is_blank(file) && !has_wal(file);
    if (path_exists(file) && !blank)
        return AutoRestore::kept;
    // Until the store has answered nothing is touched: whoever starts the application must not find
    // a place that looks new.
    if (!restorer.exists()) {
        clear_sidecars(file, log);
        return AutoRestore::nothing;
    }
    try {
        restorer.plan({});
    } catch (Error& e) {
        // There is a backup, so "not found" is no answer that an application may start on.
        if (e.kind() == ErrorKind::not_found)
            e.with_kind(ErrorKind::data);
        throw;
    }
    clear_sidecars(file, log);
    if (blank && is_blank(file) && ::unlink(file.c_str()) != 0)
        throw sys_error("remove the empty " + file).with_kind(ErrorKind::exists);
    restorer.restore_file({}, file);
    return AutoRestore::restored;
}

} // namespace zl
