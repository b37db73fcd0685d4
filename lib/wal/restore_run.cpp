#include "wal/restore_run.hpp"

#include "base/error.hpp"
#include "state/sqlite.hpp"
#include "wal/snapshot_fetch.hpp"

namespace zl {

std::string shell_quoted(const std::string& word) {
    constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789_-./:=@%+,";
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos)
        return word;
    std::string out = "'";
    for (char c : word)
        out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

RestoreRun::RestoreRun(ObjectStore& s, ReplicaKeys k, Restorer::Options o, Log& l, Progress& p,
                       std::stop_token t)
    : store(s), keys(std::move(k)), options(std::move(o)), log(l), progress(p), stop(std::move(t)) {
}

/// What to type to get to a state that is known to be good.
std::string RestoreRun::command(const std::string& file) const {
    if (!options.command.empty())
        return options.command;
    std::string name = keys.prefix();
    if (name.starts_with("db/"))
        name = name.substr(3, name.size() - 4);
    else
        name = "--prefix " + shell_quoted(name) + " NAME";
    return "zl-restore -o " + (file.empty() ? "FILE" : shell_quoted(file)) + " " + name;
}

RestorePlan RestoreRun::resolve(ReplicaCatalogue& catalogue, const RestoreTarget& target,
                                const std::string& file) {
    // The listings that a plan is made of are not of one moment: retention in between looks like a
    // hole. What is really missing is missing from the same place again.
    std::optional<std::string> seen;
    for (int tries = 0;;) {
        if (stop.stop_requested())
            throw Interrupted();
        try {
            auto result = RestorePlanner(catalogue).plan(target);
            RestorePlan& plan = result.plan;
            const std::string sequence = std::to_string(plan.sequence);
            if (result.obstacle && result.obstacle != seen && ++tries < 5) {
                seen = result.obstacle;
                log.debug("planning again, to be sure: " + *seen);
                continue;
            }
            if (result.obstacle)
                throw Error(ErrorKind::data, *result.obstacle,
                            "the last good moment before is " + format_rfc3339(plan.time) +
                                " (sequence " + sequence + "); to restore to it: " + command(file) +
                                " --sequence " + sequence);
            for (const auto& [key, reason] : catalogue.damaged())
                plan.notes.push_back("not needed, but look after it: " + reason);
            plan.requests =
                plan.segments.size() + (plan.snapshot_size + kSnapshotRange - 1) / kSnapshotRange;
            return std::move(plan);
        } catch (const PlanAgain&) {
            log.debug("planning again: an object is damaged or gone");
        }
    }
}

void RestoreRun::tell(const RestorePlan& plan) {
    for (const std::string& note : plan.notes)
        if (told_.insert(note).second)
            log.warn(note);
}

RestoreOutcome RestoreRun::rebuild(const RestoreTarget& target, const std::string& directory,
                                   const std::string& file, SegmentLink* reached) {
    ReplicaCatalogue catalogue(store, keys);
    RestoreJob job(catalogue, options, log, progress, stop, directory);
    for (;;) {
        RestorePlan plan = resolve(catalogue, target, file);
        tell(plan);
        try {
            RestoreOutcome out = job.run(plan);
            check(job.db_path());
            if (reached)
                *reached = job.reached();
            return out;
        } catch (const PlanAgain&) {
            log.debug("planning again: an object is damaged or gone");
        }
    }
}

/// The checksum proved it equal to the source; this asks whether the source was in order.
void RestoreRun::check(const std::string& db) {
    if (options.check == Restorer::Options::Check::none)
        return;
    const bool full = options.check == Restorer::Options::Check::full;
    progress.begin("checking", std::nullopt);
    DatabaseCheck result = check_database(db, full, stop);
    const std::string name = full ? "integrity_check" : "quick_check";
    if (!result.unable.empty())
        log.warn(name + " is not possible: " + result.unable +
                 "; the database is equal to its source by checksum");
    if (!result.problems.empty())
        throw Error(ErrorKind::data, name + " of the restored database: " + result.problems.front(),
                    "it is equal to its source, which was damaged then; restore an earlier "
                    "moment, or use --check none and repair it");
}

} // namespace zl
