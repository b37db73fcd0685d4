/// zl-restore NAME: a replica in the store -> the database, latest or at a moment.
#include "base/disk.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "ranges.hpp"
#include "table.hpp"
#include "tool.hpp"
#include "wal/follower.hpp"
#include "wal/restorer.hpp"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

using namespace zl;

namespace {

struct RestoreArguments {
    std::vector<std::string> name;
    std::string output, at, sequence, generation, check = "quick";
    bool force = false, automatic = false, list = false, dry_run = false;
    int jobs = 8;
    bool follow = false;
    Millis follow_interval{1000};
};

void declare(Options& o, RestoreArguments& a) {
    o.usage("[OPTION]... -o FILE NAME");
    o.summary(
        "Rebuild a SQLite database that zl-walship replicated: the newest state, or that of a\n"
        "moment. FILE is written whole and proved, or not at all.");
    o.example("zl-restore -o /srv/app.db app");
    o.example("zl-restore -o then.db --at 2026-11-22T06:00:00Z app");
    o.example("zl-restore --list app");
    o.example("zl-restore --auto -o /srv/app.db app && exec app");
    o.operands("NAME", a.name, 1, 1);
    o.text("-o,--output", "FILE", a.output, "write the database to FILE; - is stdout",
           Scope::command_line);
    o.text("--at", "TIME", a.at, "the state of this moment (RFC 3339, with zone)",
           Scope::command_line);
    o.text("--sequence", "N", a.sequence, "the state after segment N", Scope::command_line);
    o.text("--generation", "G", a.generation, "within this generation, see --list",
           Scope::command_line);
    o.choice("--check", {"quick", "full", "none"}, a.check,
             "what SQLite is to check: PRAGMA quick_check, integrity_check, nothing");
    o.flag("--force", a.force, "move an existing FILE aside instead of refusing",
           Scope::command_line);
    o.flag("--auto", a.automatic, "restore only if FILE is absent and there is a backup",
           Scope::command_line);
    o.flag("--list", a.list, "show what can be restored", Scope::command_line);
    o.flag("-n,--dry-run", a.dry_run, "show what would be fetched", Scope::command_line);
    o.flag("--follow", a.follow, "restore, then apply what comes, until stopped",
           Scope::command_line);
    o.duration("--follow-interval", a.follow_interval, "how often --follow looks for more",
               Scope::command_line);
    o.number("--jobs", a.jobs, 1, 64, "objects in flight");
}

[[noreturn]] void usage(const std::string& message, const std::string& hint = {}) {
    throw Error(ErrorKind::usage, message, hint);
}

void check_arguments(const RestoreArguments& a, bool json) {
    const int modes =
        (a.list ? 1 : 0) + (a.dry_run ? 1 : 0) + (a.automatic ? 1 : 0) + (a.follow ? 1 : 0);
    if (modes > 1)
        usage("--list, --dry-run, --auto and --follow exclude each other");
    const bool moment = !a.at.empty() || !a.sequence.empty() || !a.generation.empty();
    if (!a.at.empty() && !a.sequence.empty())
        usage("--at and --sequence exclude each other");
    const std::string mode = a.list ? "--list" : a.automatic ? "--auto" : "--follow";
    if ((a.list || a.automatic || a.follow) && moment)
        usage(mode + " does not go with --at, --sequence and --generation");
    if ((a.automatic || a.follow) && a.force)
        usage(mode + " does not go with --force", mode + " never replaces another database");
    if (a.output.empty() && !a.list && !a.dry_run)
        usage("no -o FILE",
              "zl-restore -o FILE " + shell_quoted(a.name.front()) + "; -o - writes to stdout");
    if (a.output != "-")
        return;
    if (a.automatic || a.force || a.follow)
        usage("-o - does not go with --auto, --follow and --force");
    if (json && !a.dry_run && !a.list)
        usage("-o - does not go with --json: stdout is the database");
    if (!a.list && !a.dry_run)
        refuse_terminal_stdout("use -o FILE");
}

RestoreTarget target_of(const RestoreArguments& a) {
    RestoreTarget target;
    if (!a.at.empty())
        target.at = parse_time(a.at);
    if (!a.sequence.empty()) {
        if (a.sequence.size() > 18 ||
            a.sequence.find_first_not_of("0123456789") != std::string::npos)
            usage("--sequence " + a.sequence + ": expected a number");
        target.sequence = std::stoull(a.sequence);
    }
    target.generation = a.generation;
    return target;
}

/// The command as it was typed, for hints: with another --sequence it gives another moment.
std::string command_of(ToolContext& ctx, const RestoreArguments& a) {
    std::string out = "zl-restore";
    if (ctx.options().given("store"))
        out += " --store " + shell_quoted(ctx.settings().store);
    if (!ctx.settings().prefix.empty())
        out += " --prefix " + shell_quoted(ctx.settings().prefix);
    out += " -o " + (a.output.empty() ? "FILE" : shell_quoted(a.output));
    if (a.force)
        out += " --force";
    return out + " " + shell_quoted(a.name.front());
}

void list(ToolContext& ctx, Restorer& restorer) {
    const auto ranges = restorer.list();
    if (ctx.settings().json) {
        for (const RestorableRange& r : ranges)
            ctx.print(dump_json(range_json(r)));
        return;
    }
    for (const std::string& line : aligned(range_table(ranges)))
        ctx.print(line);
}

/// What is made before it goes to stdout may be large: not /tmp, which may be memory.
std::string temp_dir() {
    auto dir = process_environment("TMPDIR");
    return dir && !dir->empty() ? *dir : "/var/tmp";
}

/// Room that the rebuild takes: the database as large as it was in the snapshot, and the segments.
std::uint64_t needed_space(const RestorePlan& plan) {
    const SnapshotHeader& h = plan.snapshot.header;
    return std::uint64_t{h.page_size} * h.page_count + plan.bytes - plan.snapshot_size;
}

void dry_run(ToolContext& ctx, Restorer& restorer, const RestoreTarget& target,
             const std::string& directory) {
    const RestorePlan plan = restorer.plan(target);
    const std::optional<std::uint64_t> available = free_space(directory);
    for (const std::string& note : plan.notes)
        ctx.log().warn(note);
    if (!ctx.settings().json) {
        ctx.print("state     " + format_rfc3339(plan.time) + ", sequence " +
                  std::to_string(plan.sequence) + ", generation " + plan.generation);
        ctx.print("snapshot  " + plan.snapshot_key + ", " + format_size(plan.snapshot_size));
        ctx.print("segments  " + std::to_string(plan.segments.size()) + ", " +
                  format_size(plan.bytes - plan.snapshot_size));
        ctx.print("fetch     at most " + format_size(plan.bytes) + " in " +
                  std::to_string(plan.requests) + " requests");
        ctx.print("disk      about " + format_size(needed_space(plan)) + " in " + directory +
                  (available ? ", which has " + format_size(*available) + " free" : ""));
        return;
    }
    Json j;
    j["generation"] = plan.generation;
    j["sequence"] = plan.sequence;
    j["time"] = format_rfc3339(plan.time);
    j["snapshot"] = plan.snapshot_key;
    j["segments"] = plan.segments.size();
    j["bytes"] = plan.bytes;
    j["requests"] = plan.requests;
    j["disk_bytes"] = needed_space(plan);
    j["disk_free_bytes"] = available ? Json(*available) : Json(nullptr);
    j["notes"] = plan.notes;
    ctx.print(dump_json(j));
}

void report(ToolContext& ctx, const RestoreArguments& a, const Restorer& restorer,
            const std::string& result) {
    const RestoreOutcome& done = restorer.done();
    ctx.metrics().set("zl_fetched_bytes", static_cast<double>(done.bytes_fetched),
                      "Bytes that were fetched from the store");
    if (done.sequence)
        ctx.log().notice("restored " + format_rfc3339(done.time) + ", sequence " +
                         std::to_string(done.sequence) + ", generation " + done.generation);
    if (!ctx.settings().json)
        return;
    Json j;
    j["result"] = result;
    j["file"] = a.output;
    if (done.sequence) {
        j["generation"] = done.generation;
        j["sequence"] = done.sequence;
        j["time"] = format_rfc3339(done.time);
        j["page_size"] = done.page_size;
        j["page_count"] = done.page_count;
        j["pages_written"] = done.pages_written;
        j["segments"] = done.segments;
        j["bytes_fetched"] = done.bytes_fetched;
        j["moved_aside"] = done.moved_aside;
    }
    ctx.print(dump_json(j));
}

/// Until stopped. Once there is a copy, a store that cannot be reached is only a delay.
void follow(ToolContext& ctx, RestoreRun& run, const RestoreArguments& a) {
    Follower follower(run, a.output);
    std::mutex mutex;
    std::condition_variable_any wake;
    for (;;) {
        try {
            while (follower.step())
                ctx.log().info("at " + format_rfc3339(follower.time()) + ", sequence " +
                               std::to_string(follower.sequence()));
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::transient || follower.sequence() == 0)
                throw;
            ctx.log().warn(e.message() + "; trying again");
        }
        std::unique_lock lock(mutex);
        wake.wait_for(lock, ctx.stop(), a.follow_interval, [] { return false; });
        if (ctx.stop().stop_requested())
            throw Interrupted();
    }
}

int restore(ToolContext& ctx, const RestoreArguments& a) {
    check_arguments(a, ctx.settings().json);
    const RestoreTarget target = target_of(a);
    const ReplicaKeys keys = ctx.settings().prefix.empty() ? ReplicaKeys::of_name(a.name.front())
                                                           : ReplicaKeys(ctx.settings().prefix);
    ctx.metrics().set_name(a.name.front());
    Restorer::Options options;
    options.jobs = a.jobs;
    options.force = a.force;
    options.check = a.check == "full"   ? Restorer::Options::Check::full
                    : a.check == "none" ? Restorer::Options::Check::none
                                        : Restorer::Options::Check::quick;
    options.command = command_of(ctx, a);
    auto store = ctx.open_store(a.jobs + 2);
    if (a.follow) {
        RestoreRun run(*store, keys, options, ctx.log(), ctx.progress(), ctx.stop());
        follow(ctx, run, a);
    }
    Restorer restorer(*store, keys, options, ctx.log(), ctx.progress(), ctx.stop());

    std::string result = "restored";
    if (a.list) {
        list(ctx, restorer);
        return kExitOk;
    }
    if (a.dry_run) {
        dry_run(ctx, restorer, target,
                a.output.empty() || a.output == "-" ? temp_dir() : dir_name(a.output));
        return kExitOk;
    }
    if (a.automatic) {
        const AutoRestore done = auto_restore(restorer, a.output, ctx.log());
        result = done == AutoRestore::kept      ? "kept"
                 : done == AutoRestore::nothing ? "no backup"
                                                : "restored";
    } else if (a.output == "-") {
        FdSink out(STDOUT_FILENO, "stdout", ctx.stop());
        restorer.restore_stream(target, temp_dir(), out);
    } else {
        restorer.restore_file(target, a.output);
    }
    report(ctx, a, restorer, result);
    return kExitOk;
}

} // namespace

int main(int argc, char** argv) {
    RestoreArguments arguments;
    ToolSpec spec;
    spec.name = "zl-restore";
    spec.uses_store = true;
    spec.has_result = true;
    spec.declare = [&](Options& o) { declare(o, arguments); };
    return run_tool(argc, argv, spec, [&](ToolContext& ctx) { return restore(ctx, arguments); });
}
