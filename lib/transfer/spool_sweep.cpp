#include "transfer/spool_sweep.hpp"

#include "base/handle.hpp"
#include "transfer/spool_file.hpp"

#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>

namespace zl {

namespace {

using Kind = DeadPush::Kind;

constexpr const char* kMark = "dead-since";

std::uint64_t size_of(const std::string& path) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    return error ? 0 : size;
}

std::string file_name(const std::string& path) {
    return std::filesystem::path(path).filename().string();
}

/// Spools that have a file or a lock.
std::set<std::string> spools_in(const std::string& dir) {
    std::set<std::string> out;
    std::error_code error;
    for (std::filesystem::directory_iterator at(dir, error), end; !error && at != end;
         at.increment(error)) {
        std::string path = at->path().string();
        if (path.ends_with(std::string(kSpoolSuffix) + kSpoolLockSuffix))
            path.resize(path.size() - std::string(kSpoolLockSuffix).size());
        if (path.ends_with(kSpoolSuffix))
            out.insert(path);
    }
    return out;
}

class Sweep {
public:
    Sweep(StateDb& db, const std::function<Fate(const DeadPush&)>& judge)
        : db_(db), judge_(judge), marks_(db.facts(kMark)) {}

    void rows() {
        for (const PushRow& row : db_.pushes())
            look_at(row);
    }
    void files(const std::string& dir) {
        dir_ = std::filesystem::path(dir) / "x";
        for (const std::string& spool : spools_in(dir)) {
            seen_.insert(spool);
            if (!is_known(spool))
                look_at(spool);
        }
    }
    /// Of what is not dead any more, or not there: found again, it was dead with a break.
    void take_back_marks() {
        for (const auto& [spool, since] : marks_) {
            const bool looked_at =
                seen_.contains(spool) ||
                std::filesystem::path(spool).parent_path() == dir_.parent_path();
            if (looked_at && !dead_.contains(spool))
                db_.delete_fact(spool, kMark);
        }
    }

private:
    void look_at(const PushRow& row) {
        seen_.insert(row.spool);
        if (row.is_pending() && !is_lost(row.spool))
            return;
        std::optional<FileLock> lock;
        try {
            if (!(lock = lock_spool(row.spool)))
                return;
        } catch (const SpoolError&) { // without its directory nobody can say more
        }
        Finally unlock([&] {
            if (lock)
                lock->remove_and_unlock();
        });
        auto fresh = db_.find_push(row.id);
        if (!fresh || (fresh->is_pending() && !is_lost(row.spool)))
            return;
        const Kind kind = fresh->state == "done"           ? Kind::done
                          : !lock || fresh->is_pending() ? Kind::lost
                                                         : Kind::cut_input;
        if (goes({kind, row.spool, row.digest, size_of(row.spool), {}}))
            forget_push(db_, *fresh);
    }

    void look_at(const std::string& orphan) {
        std::optional<FileLock> lock;
        try {
            lock = lock_spool(orphan);
        } catch (const SpoolError&) { // another user's: not ours to judge
        }
        if (!lock)
            return;
        // A younger row than our list had its lock held by its process.
        Finally unlock([&] { lock->remove_and_unlock(); });
        if (is_known(orphan) || !path_exists(orphan))
            return;
        if (goes({Kind::orphan, orphan, {}, size_of(orphan), {}}) &&
            ::unlink(orphan.c_str()) != 0 && errno != ENOENT)
            throw sys_error("remove " + orphan).with_kind(ErrorKind::io);
    }

    bool goes(DeadPush dead) {
        const auto mark = marks_.find(dead.spool);
        if (mark != marks_.end())
            dead.marked = parse_time(mark->second);
        const Fate fate = judge_(dead);
        // The mark goes first: what a forgotten row leaves behind waits anew, as an orphan.
        if (fate == Fate::remove)
            db_.delete_fact(dead.spool, kMark);
        else
            dead_.insert(dead.spool);
        if (fate == Fate::mark && !dead.marked)
            db_.set_fact(dead.spool, kMark, format_rfc3339(now_wall()));
        return fate == Fate::remove;
    }

    bool is_known(const std::string& spool) {
        for (const PushRow& row : db_.pushes())
            if (file_name(row.spool) == file_name(spool))
                return true;
        return false;
    }

    StateDb& db_;
    const std::function<Fate(const DeadPush&)>& judge_;
    std::map<std::string, std::string> marks_; ///< by spool
    std::set<std::string> seen_, dead_;
    std::filesystem::path dir_; ///< some file of it
};

} // namespace

void sweep_spools(StateDb& db, const std::string& spool_dir,
                  const std::function<Fate(const DeadPush&)>& judge) {
    Sweep sweep(db, judge);
    sweep.rows();
    sweep.files(spool_dir);
    sweep.take_back_marks();
}

} // namespace zl
