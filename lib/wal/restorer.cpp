#include "wal/restorer.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/handle.hpp"
#include "state/sqlite.hpp"
#include "wal/restore_job.hpp"
#include "wal/restore_list.hpp"
#include "wal/restore_plan.hpp"
#include "wal/restore_site.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <set>

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

struct Restorer::Impl {
    Impl(ObjectStore& s, ReplicaKeys k, Options o, Log& l, Progress& p, std::stop_token t)
        : store(s), keys(std::move(k)), options(std::move(o)), log(l), progress(p),
          stop(std::move(t)) {}

    /// What to type to get to a state that is known to be good.
    std::string command(const std::string& file) const {
        if (!options.command.empty())
            return options.command;
        std::string name = keys.prefix();
        if (name.starts_with("db/"))
            name = name.substr(3, name.size() - 4);
        else
            name = "--prefix " + shell_quoted(name) + " NAME";
        return "zl-restore -o " + (file.empty() ? "FILE" : shell_quoted(file)) + " " + name;
    }

    /// Throws data where the target cannot be reached.
    RestorePlan resolve(ReplicaCatalogue& catalogue, const RestoreTarget& target,
                        const std::string& file) {
        for (;;) {
            if (stop.stop_requested())
                throw Interrupted();
            try {
                auto result = RestorePlanner(catalogue).plan(target);
                RestorePlan& plan = result.plan;
                const std::string sequence = std::to_string(plan.sequence);
                if (result.obstacle)
                    throw Error(ErrorKind::data, *result.obstacle,
                                "the last good moment before is " + format_rfc3339(plan.time) +
                                    " (sequence " + sequence + "); to restore to it: " +
                                    command(file) + " --sequence " + sequence);
                for (const auto& [key, reason] : catalogue.damaged())
                    plan.notes.push_back("not needed, but look after it: " + reason);
                plan.requests = plan.segments.size() +
                                (plan.snapshot_size + kSnapshotRange - 1) / kSnapshotRange;
                return std::move(plan);
            } catch (const PlanAgain&) {
                log.debug("planning again: an object is damaged or gone");
            }
        }
    }

    void tell(const RestorePlan& plan) {
        for (const std::string& note : plan.notes)
            if (told.insert(note).second)
                log.warn(note);
    }

    RestoreOutcome rebuild(const RestoreTarget& target, const std::string& directory,
                           const std::string& file) {
        ReplicaCatalogue catalogue(store, keys);
        RestoreJob job(catalogue, options, log, progress, stop, directory);
        for (;;) {
            RestorePlan plan = resolve(catalogue, target, file);
            tell(plan);
            try {
                RestoreOutcome out = job.run(plan);
                check(job.db_path());
                return out;
            } catch (const PlanAgain&) {
                log.debug("planning again: an object is damaged or gone");
            }
        }
    }

    /// The checksum proved it equal to the source; this asks whether the source was in order.
    void check(const std::string& db) {
        if (options.check == Options::Check::none)
            return;
        const bool full = options.check == Options::Check::full;
        progress.begin("checking", std::nullopt);
        DatabaseCheck result = check_database(db, full, stop);
        const std::string name = full ? "integrity_check" : "quick_check";
        if (!result.unable.empty())
            log.warn(name + " is not possible: " + result.unable +
                     "; the database is equal to its source by checksum");
        if (!result.problems.empty())
            throw Error(ErrorKind::data,
                        name + " of the restored database: " + result.problems.front(),
                        "it is equal to its source, which was damaged then; restore an earlier "
                        "moment, or use --check none and repair it");
    }

    ObjectStore& store;
    ReplicaKeys keys;
    Options options;
    Log& log;
    Progress& progress;
    std::stop_token stop;
    RestoreOutcome done;
    std::set<std::string> told;
};

Restorer::Restorer(ObjectStore& store, ReplicaKeys keys, Options options, Log& log,
                   Progress& progress, std::stop_token stop)
    : impl_(std::make_unique<Impl>(store, std::move(keys), std::move(options), log, progress,
                                   std::move(stop))) {}
Restorer::~Restorer() = default;

const RestoreOutcome& Restorer::done() const {
    return impl_->done;
}

bool Restorer::exists() {
    return ReplicaCatalogue(impl_->store, impl_->keys).exists();
}

RestorePlan Restorer::plan(const RestoreTarget& target) {
    ReplicaCatalogue catalogue(impl_->store, impl_->keys);
    return impl_->resolve(catalogue, target, "");
}

std::vector<RestorableRange> Restorer::list() {
    ReplicaCatalogue catalogue(impl_->store, impl_->keys);
    return list_restorable(catalogue, impl_->options.jobs, impl_->stop);
}

void Restorer::restore_file(const RestoreTarget& target, const std::string& file) {
    RestoreSite site(file, impl_->options.force);
    RestoreOutcome out = impl_->rebuild(target, site.directory(), file);
    out.moved_aside = site.install(site.directory() + "/db");
    for (const std::string& path : out.moved_aside)
        impl_->log.warn("moved aside: " + path);
    impl_->done = std::move(out);
}

void Restorer::restore_stream(const RestoreTarget& target, const std::string& temp_dir, Sink& out) {
    std::string directory = temp_dir + "/zl-restore.XXXXXX";
    if (!::mkdtemp(directory.data()))
        throw sys_error("create " + directory).with_kind(ErrorKind::exists);
    Finally remove([&] {
        ::unlink((directory + "/segments").c_str());
        ::unlink((directory + "/db").c_str());
        ::rmdir(directory.c_str());
    });
    RestoreOutcome outcome = impl_->rebuild(target, directory, "");
    UniqueFd fd = open_file(directory + "/db", O_RDONLY);
    std::vector<std::byte> buffer(1 << 20);
    while (std::size_t n = read_full(fd.get(), buffer, directory + "/db")) {
        if (impl_->stop.stop_requested())
            throw Interrupted();
        out.write(Bytes(buffer).first(n));
    }
    impl_->done = std::move(outcome);
}

} // namespace zl
