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

bool is_lost(const std::string& spool) {
    try {
        return !path_exists(spool);
    } catch (const Error&) {
        return false;
    }
}

UniqueFd open_spool(const PushRow& row) {
    try {
        return open_file(row.spool, O_RDONLY);
    } catch (const Error& e) {
        throw not_there(e);
    }
}

void prove_spool(const PushRow& row, int fd, Progress& progress, const std::stop_token& stop) {
    progress.begin("checking the spool", row.blob_size);
    FileBody body(fd, 0, row.blob_size, row.spool);
    Hasher hash;
    std::vector<std::byte> buffer(1 << 20);
    const std::string hint = "run the same pipeline again: that stores the layer, and finishes "
                             "this push too";
    try {
        for (std::uint64_t at = 0; at < row.blob_size;) {
            if (stop.stop_requested())
                throw Interrupted();
            const auto n = static_cast<std::size_t>(
                std::min<std::uint64_t>(buffer.size(), row.blob_size - at));
            body.read(at, std::span(buffer.data(), n));
            hash.update(Bytes(buffer.data(), n));
            progress.advance(static_cast<std::int64_t>(n));
            at += n;
        }
    } catch (const Error& e) {
        throw SpoolError(std::string("its spool is damaged: ") + e.what(), hint);
    }
    if (const std::string is = hash.finish_hex(); is != row.blob_sha256)
        throw SpoolError("its spool is damaged: " + row.spool + " has sha256 " + is +
                             ", expected " + row.blob_sha256,
                         hint);
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
