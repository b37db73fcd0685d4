#include "transfer/pusher.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/handle.hpp"
#include "base/random.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/refs.hpp"
#include "transfer/spool_file.hpp"
#include "transfer/spool_sweep.hpp"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>

namespace zl {

namespace {

constexpr auto kSuspectAge = std::chrono::hours(24);

std::string saved(const PushRow& row) {
    return "the input is saved (" + row.spool + ")";
}

std::string saved_hint(const PushRow& row) {
    return saved(row) + "; when the cause is gone, run the same command again or zl-push --resume";
}

/// For what can do without it: nullopt also when its spool is not there.
std::optional<FileLock> lock_if_there(const PushRow& row) {
    try {
        return lock_spool(row.spool);
    } catch (const SpoolError&) {
        return std::nullopt;
    }
}

} // namespace

Pusher::Pusher(StateDb& db, PushOptions options, OpenStore open, Log& log, Progress& progress,
               std::stop_token stop)
    : db_(db), options_(std::move(options)), open_(std::move(open)), log_(log), progress_(progress),
      stop_(std::move(stop)) {
    try {
        make_dirs(options_.spool_dir, 0700);
    } catch (Error& e) {
        throw e.with_kind(ErrorKind::exists)
            .add_context("spool directory")
            .with_hint("set --spool-dir to a directory that can be written");
    }
    // A row is read by runs that are somewhere else.
    options_.spool_dir = std::filesystem::absolute(options_.spool_dir).string();
}

ObjectStore& Pusher::store(const std::string& url) {
    auto& s = stores_[url];
    if (!s)
        s = open_(url);
    return *s;
}

std::string Pusher::new_spool_path() const {
    return std::filesystem::path(options_.spool_dir) /
           (format_key_time(now_wall()) + "-" + random_hex(8) + kSpoolSuffix);
}

PushOutcome Pusher::push(Source& in, const std::function<void(const SpoolResult&)>& after_input) {
    ObjectStore& target = store(options_.store_url);
    sweep(true, true);
    PushRow row;
    row.store_url = options_.store_url;
    row.store = target.identity();
    row.prefix = options_.prefix;
    row.name = options_.name;
    row.kind = kind_name(options_.kind);
    row.state = "spooling";
    row.spool = new_spool_path();
    row.force = options_.force;
    row.tags = options_.tags;
    row.part_size = options_.part_size;
    row.created_at = format_rfc3339(now_wall());
    // Lock, row, file: in this order a crash leaves no spool that no row knows.
    auto lock = FileLock::try_lock(row.spool + kSpoolLockSuffix);
    if (!lock)
        throw Error(ErrorKind::internal, "new spool " + row.spool + " is locked");
    row.id = db_.insert_push(row);
    Finally unlock([&] { lock->remove_and_unlock(); });
    crash_point("push.spooling");
    PartHashes hashes{row.part_size, {}};
    try {
        UniqueFd fd = open_file(row.spool, O_RDWR | O_CREAT | O_EXCL, 0600);
        SpoolResult s =
            spool_input(in, fd.get(), row.spool, options_.kind, progress_, row.part_size);
        after_input(s);
        row.kind = kind_name(s.kind);
        row.digest = s.digest;
        row.blob_sha256 = s.blob_sha256;
        row.blob_size = s.blob_size;
        row.size_bytes = s.size_bytes;
        row.file_count = s.file_count;
        row.incomplete = s.incomplete;
        hashes.sha256 = std::move(s.part_sha256);
        row.ref_time = format_key_time(now_wall());
        row.state = "spooled";
        db_.update_push(row);
    } catch (...) {
        try {
            forget_push(db_, row);
        } catch (const Error&) { // the next run does it; why there is no input is what matters
        }
        throw;
    }
    crash_point("push.spooled");
    try {
        fix_ref_time(row, target);
    } catch (Error& e) {
        e.with_hint(e.hint().empty() ? saved_hint(row) : e.hint() + "; " + saved_hint(row));
        throw;
    }
    take_over_upload(row);
    return run_job(row, target, std::move(hashes));
}

/// The same pipeline run again after a kill: its bytes are those of an upload under way, so that
/// upload is continued. The earlier row finds its layer stored later on, and only adds its ref.
void Pusher::take_over_upload(PushRow& row) {
    for (const PushRow& other : db_.pushes()) {
        bool same = other.id != row.id && other.store == row.store && other.prefix == row.prefix &&
                    (other.kind == "raw") == (row.kind == "raw") && other.digest == row.digest &&
                    other.blob_sha256 == row.blob_sha256 && !other.upload_id.empty() && !row.force;
        auto lock = same ? lock_if_there(other) : std::nullopt;
        if (!lock)
            continue;
        Finally unlock([&] { lock->remove_and_unlock(); });
        auto fresh = db_.find_push(other.id);
        if (!fresh || (fresh->state != "uploading" && fresh->state != "completing"))
            continue;
        db_.move_upload(*fresh, row);
        return;
    }
}

/// The later of now, by the store's clock, and the newest ref + 1 ms: so that this push is the
/// newest whatever the hosts' clocks say. Once fixed it stays: a push resumed later enters as
/// history.
void Pusher::fix_ref_time(PushRow& row, ObjectStore& target) {
    if (row.name.empty())
        return;
    auto refs = list_refs(target, row.prefix, row.name);
    TimePoint time = now_wall() + target.clock_offset();
    if (!refs.empty() && refs.back().time >= time)
        time = refs.back().time + Millis(1);
    if (parse_key_time(format_key_time(time)) != time)
        throw Error(ErrorKind::data,
                    target.describe(refs.back().key) + ": nothing can be newer than this name",
                    "remove that object first");
    row.ref_time = format_key_time(time);
    db_.update_push(row);
}

PushOutcome Pusher::run_job(PushRow row, ObjectStore& target, PartHashes hashes) {
    PushOutcome o = run_steps(std::move(row), target, std::move(hashes));
    try {
        sweep_suspects(target);
    } catch (const Error& e) { // the push is done
        log_.warn(std::string("looking for uploads that may be ours: ") + e.what());
    } catch (const Interrupted&) { // so is this
    }
    return o;
}

PushOutcome Pusher::run_steps(PushRow row, ObjectStore& target, PartHashes hashes) {
    try {
        PushJob job(target, db_, row, std::move(hashes), options_.jobs, log_, progress_, stop_);
        return job.run();
    } catch (const Interrupted&) {
        log_.warn("interrupted: " + saved(row) +
                  ", run the same command again or zl-push --resume");
        throw;
    } catch (const SpoolError&) {
        throw;
    } catch (Error& e) {
        e.with_hint(e.hint().empty() ? saved_hint(row) : e.hint() + "; " + saved_hint(row));
        throw;
    }
}

void Pusher::finish_pending() {
    ObjectStore& target = store(options_.store_url);
    for (const PushRow& row : db_.pushes()) {
        if (row.store != target.identity() || row.prefix != options_.prefix ||
            row.name != options_.name || !row.is_pending() || is_lost(row.spool))
            continue;
        auto lock = lock_if_there(row);
        auto fresh = lock ? db_.find_push(row.id) : std::nullopt;
        if (!lock)
            continue;
        Finally unlock([&] { lock->remove_and_unlock(); });
        if (!fresh || !fresh->is_pending())
            continue;
        try {
            run_job(*fresh, target);
        } catch (const Error& e) {
            log_.warn("earlier push sha256:" + row.digest + " is still pending: " + e.what());
        }
    }
}

void Pusher::resume_all(const std::function<void(const PushOutcome&)>& report) {
    sweep(true, false);
    std::optional<Error> last;
    for (const PushRow& row : db_.pushes()) {
        if (!row.is_pending())
            continue;
        try {
            auto lock = lock_spool(row.spool);
            if (!lock) {
                log_.warn("push sha256:" + row.digest + ": another process works on it");
                continue;
            }
            Finally unlock([&] { lock->remove_and_unlock(); });
            auto fresh = db_.find_push(row.id);
            if (!fresh || !fresh->is_pending())
                continue;
            ObjectStore& target = store(fresh->store_url);
            if (target.identity() != fresh->store)
                throw Error(ErrorKind::config,
                            "was begun to " + fresh->store + ", " + fresh->store_url +
                                " now means " + target.identity(),
                            "set AWS_ENDPOINT_URL_S3 or the profile as it was then");
            report(run_job(*fresh, target));
        } catch (Error& e) {
            e.add_context("push sha256:" + row.digest);
            if (last)
                log_.write(LogLevel::error, last->what());
            last = e;
        }
    }
    if (last)
        throw *last;
}

std::vector<Pusher::Pending> Pusher::list() {
    sweep(false, true);
    std::vector<Pending> out;
    for (PushRow& row : db_.pushes()) {
        Pending p;
        p.lost = row.is_pending() && is_lost(row.spool);
        try {
            auto lock = lock_spool(row.spool);
            p.busy = !lock;
            if (lock)
                lock->remove_and_unlock();
        } catch (const SpoolError&) {
        }
        if (!p.busy && !row.is_pending())
            continue; // the next push removes it
        for (const auto& [number, part] : db_.parts(row.id))
            p.parts_bytes += part.size;
        p.row = std::move(row);
        out.push_back(std::move(p));
    }
    return out;
}

/// Tells of what may be somebody's only copy; @p remove: clears what is nobody's.
void Pusher::sweep(bool remove, bool tell_lost) {
    auto judge = [&](const DeadPush& dead) {
        if (dead.kind == DeadPush::Kind::orphan)
            log_.warn(dead.spool + " belongs to no push of this state database and is left alone; " +
                      "zl-push < FILE stores it, zl-prune --local removes it after a day");
        else if (dead.kind == DeadPush::Kind::lost && tell_lost && !dead.digest.empty())
            log_.warn("push sha256:" + dead.digest + " is not finished and its spool " +
                      dead.spool + " is not there; when it is again, zl-push --resume goes on");
        return remove && !dead.may_be_missed() ? Fate::remove : Fate::keep;
    };
    try {
        sweep_spools(db_, options_.spool_dir, judge);
    } catch (const Error& e) { // what is left can wait
        log_.warn(e.what());
    }
}

/// Uploads that may be ours: aborted once nothing was added to them for a day.
void Pusher::sweep_suspects(ObjectStore& target) {
    auto suspects = db_.suspects(target.identity());
    for (const SuspectRow& s : suspects) {
        auto uploads = target.list_uploads(s.key);
        auto found = std::find_if(uploads.begin(), uploads.end(), [&](const UploadInfo& u) {
            return u.key == s.key && u.upload_id == s.upload_id;
        });
        if (found == uploads.end()) {
            db_.delete_suspect(s);
            continue;
        }
        TimePoint newest = found->initiated;
        for (const PartInfo& p : target.list_parts(s.key, s.upload_id))
            newest = std::max(newest, p.last_modified);
        if (now_wall() + target.clock_offset() - newest < kSuspectAge)
            continue;
        target.abort_upload(s.key, s.upload_id);
        db_.delete_suspect(s);
    }
}

} // namespace zl
