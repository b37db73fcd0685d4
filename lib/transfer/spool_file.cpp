#include "transfer/spool_file.hpp"

#include "base/crash_point.hpp"
#include "store/object_store.hpp"
#include "stream/hash.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace zl {

namespace {

SpoolError not_there(const Error& why) {
    return {std::string("its spool is not there: ") + why.what(),
            "mount its file system or put the file back, then zl-push --resume; if it is lost, run "
            "the same pipeline again, and zl-prune --local --apply forgets this push"};
}

} // namespace

std::optional<FileLock> lock_spool(const std::string& spool) {
    try {
        return FileLock::try_lock(spool + kSpoolLockSuffix);
    } catch (const Error& e) {
        throw not_there(e);
    }
}

UniqueFd open_spool(const PushRow& row) {
    try {
        return open_file(row.spool, O_RDONLY);
    } catch (const Error& e) {
        throw not_there(e);
    }
}

void forget_push(StateDb& db, const PushRow& row) {
    if (::unlink(row.spool.c_str()) == 0)
        fsync_dir(dir_name(row.spool));
    else if (errno != ENOENT && errno != ENOTDIR)
        throw sys_error("remove " + row.spool).with_kind(ErrorKind::io);
    crash_point("push.removed");
    db.delete_push(row.id);
}

} // namespace zl
