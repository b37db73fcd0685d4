#include "transfer/spool_sweep.hpp"

#include "base/file.hpp"
#include "base/handle.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

namespace zl {

namespace {

using Kind = DeadPush::Kind;

std::uint64_t size_of(const std::string& path) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    return error ? 0 : size;
}

void sweep_rows(StateDb& db, const std::function<bool(const DeadPush&)>& remove) {
    for (const PushRow& row : db.pushes()) {
        const bool cut = row.state == "spooling";
        if (!cut && path_exists(row.spool))
            continue;
        auto lock = FileLock::try_lock(row.spool + kSpoolLockSuffix);
        if (!lock)
            continue;
        Finally unlock([&] { lock->remove_and_unlock(); });
        auto fresh = db.find_push(row.id);
        if (!fresh || (fresh->state != "spooling" && path_exists(row.spool)))
            continue;
        if (!remove({cut ? Kind::cut_input : Kind::lost_spool, row.spool, row.digest,
                     size_of(row.spool)}))
            continue;
        ::unlink(row.spool.c_str());
        db.delete_push(row.id);
    }
}

bool is_known(StateDb& db, const std::string& spool) {
    auto rows = db.pushes();
    return std::any_of(rows.begin(), rows.end(),
                       [&](const PushRow& r) { return r.spool == spool; });
}

/// Spools that have a file or a lock.
std::set<std::string> spools_in(const std::string& dir) {
    std::set<std::string> out;
    std::error_code error;
    for (const auto& file : std::filesystem::directory_iterator(dir, error)) {
        std::string path = file.path().string();
        if (path.ends_with(std::string(kSpoolSuffix) + kSpoolLockSuffix))
            path.resize(path.size() - std::string(kSpoolLockSuffix).size());
        if (path.ends_with(kSpoolSuffix))
            out.insert(path);
    }
    return out;
}

} // namespace

void sweep_spools(StateDb& db, const std::string& spool_dir,
                  const std::function<bool(const DeadPush&)>& remove) {
    sweep_rows(db, remove);
    std::set<std::string> found = spools_in(spool_dir);
    for (const PushRow& row : db.pushes())
        found.erase(row.spool);
    for (const std::string& spool : found) {
        // A younger row than our list has its lock held by its process.
        const bool has_file = path_exists(spool);
        auto lock = FileLock::try_lock(spool + kSpoolLockSuffix);
        if (!lock)
            continue;
        Finally unlock([&] { lock->remove_and_unlock(); });
        if (is_known(db, spool))
            continue;
        if (remove({Kind::orphan, spool, {}, has_file ? size_of(spool) : 0}))
            ::unlink(spool.c_str());
    }
}

} // namespace zl
