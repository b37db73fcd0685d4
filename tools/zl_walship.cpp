/// zl-walship: ships a live SQLite database to a store.
#include "base/error.hpp"
#include "base/file.hpp"
#include "control.hpp"
#include "ship_daemon.hpp"
#include "tool.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>

using namespace zl;

namespace {

struct ShipArguments {
    std::vector<std::string> database, command;
    std::string name, cache_dir;
    ReplicatorOptions defaults; ///< where the numbers go
    std::string max_wal = "1GiB", retain = "7d";
    bool auto_restore = true, no_auto_restore = false, wait = false;
    std::string on_failure = "continue";
    bool once = false, flush = false, status = false;
    Millis max_lag{0};
};

/// @p word stands for nullopt.
template <typename Parse>
auto parse_unless(const std::string& text, const char* word, Parse parse) {
    return text == word ? std::nullopt : std::optional(parse(text));
}
std::optional<std::uint64_t> parse_max_wal(const std::string& text) {
    return parse_unless(text, "none", parse_size);
}
std::optional<Millis> parse_retain(const std::string& text) {
    return parse_unless(text, "off", parse_duration);
}

void declare_shipping(Options& o, ShipArguments& a) {
    o.text("--name", "NAME", a.name, "name of the replica; else DB's file name without extension");
    o.text("--cache-dir", "DIR", a.cache_dir, "segments that wait, and the state; else DB.zl");
    o.duration("--sync-interval", a.defaults.sync_interval, "send commits at most so much later");
    o.duration("--snapshot-interval", a.defaults.snapshot_interval, "time between snapshots");
    o.size("--max-cache-size", a.defaults.max_cache_size,
           "beyond that, what waits stays in the WAL");
    o.checked(
        "--max-wal", "SIZE|none", a.max_wal, [](const auto& t) { parse_max_wal(t); },
        "beyond that, give up moments to spare the disk");
    o.checked(
        "--retain", "TIME|off", a.retain, [](const auto& t) { parse_retain(t); },
        "delete from the store what no moment younger than this needs");
    o.duration("--fine", a.defaults.fine, "merge segments that are older");
    o.duration("--drain-timeout", a.defaults.drain_timeout, "time to send the rest at the end");
    o.flag("--auto-restore", a.auto_restore, "if DB is absent, restore it first (default)");
    o.flag("--no-auto-restore", a.no_auto_restore, "do not", Scope::command_line);
    o.flag("--wait", a.wait, "if DB is absent and has no backup, wait for it");
    o.flag("--enable-wal", a.defaults.enable_wal, "switch DB to WAL mode");
    o.flag("--take-over", a.defaults.take_over, "ship although another writer owns NAME",
           Scope::command_line);
    o.choice("--on-replication-failure", {"continue", "stop"}, a.on_failure,
             "what becomes of CMD when shipping fails for good");
}

void declare(Options& o, ShipArguments& a) {
    o.usage("[OPTION]... DB [-- CMD [ARG]...]");
    o.summary(
        "Ship the SQLite database DB to the store while others use it, and run CMD if given.\n"
        "SIGTERM sends the rest and ends it.");
    o.example("zl-walship /var/lib/app/app.db");
    o.example("zl-walship /data/app.db -- app --port 8080");
    o.example("zl-walship --status --max-lag 1m /var/lib/app/app.db");
    o.operands("DB", a.database, 1, 1);
    o.command(a.command);
    declare_shipping(o, a);
    o.group("Instead of shipping on and on");
    o.flag("--once", a.once, "send all that is committed now, then end", Scope::command_line);
    o.flag("--flush", a.flush, "have the running zl-walship do that, and wait",
           Scope::command_line);
    o.flag("--status", a.status, "print how far it is; exit code 1 if that is not well",
           Scope::command_line);
    o.duration("--max-lag", a.max_lag, "with --status: 1 too if the lag is longer; 0s = any",
               Scope::command_line);
}

void check(const Options& o, const ShipArguments& a) {
    auto refuse = [](const char* message) { throw Error(ErrorKind::usage, message); };
    const int modes = a.once + a.flush + a.status;
    if (modes > 1)
        refuse("--once, --flush and --status exclude each other");
    if (modes > 0 && !a.command.empty())
        refuse("--once, --flush and --status take no command");
    if (a.once && a.wait)
        refuse("--once does not wait for a database: --once and --wait exclude each other");
    if (o.given("max-lag") && !a.status)
        refuse("--max-lag needs --status");
    if (a.defaults.snapshot_interval < Millis(1000)) // --sync-interval 0s: as soon as possible
        refuse("--snapshot-interval is at least 1s");
    if (a.defaults.max_cache_size < 1 << 20)
        refuse("--max-cache-size is at least 1MiB");
}

/// The file itself, whatever link leads there: SQLite puts the WAL beside it, and two shippers
/// shall find each other. Throws not_found when the directory is missing.
std::string real_path(const std::string& database) {
    namespace fs = std::filesystem;
    if (database.empty())
        throw Error(ErrorKind::usage, "DB is empty");
    std::error_code failed;
    fs::path real = fs::canonical(database, failed);
    if (failed) {
        const fs::path directory = fs::canonical(dir_name(database), failed);
        if (failed)
            throw sys_error(database, failed.value());
        real = directory / fs::path(database).filename();
    }
    if (fs::is_directory(real, failed) || real.filename().empty())
        throw Error(ErrorKind::usage, database + " is a directory, expected a database");
    return real;
}

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

ReplicaKeys keys_of(const std::string& prefix, const std::string& name, bool given) {
    try {
        const ReplicaKeys keys = ReplicaKeys::of_name(name);
        return prefix.empty() ? keys : ReplicaKeys(prefix);
    } catch (Error& e) {
        throw given ? e : e.with_hint("say --name NAME");
    }
}

ShipJob job_of(const ToolContext& ctx, const ShipArguments& a) {
    ShipJob job;
    ReplicatorOptions& r = job.replicator = a.defaults;
    r.database = real_path(a.database[0]);
    const bool named = ctx.options().given("name");
    r.name = named ? a.name : std::filesystem::path(a.database[0]).stem().string();
    job.keys = keys_of(ctx.settings().prefix, r.name, named);
    r.cache_dir = a.cache_dir.empty() ? r.database + ".zl" : a.cache_dir;
    r.store_url = ctx.settings().store;
    r.host = host_name();
    r.max_wal = parse_max_wal(a.max_wal);
    r.retain = parse_retain(a.retain);
    job.command = a.command;
    job.auto_restore = a.auto_restore && !a.no_auto_restore;
    job.wait = a.wait;
    job.stop_on_failure = a.on_failure == "stop";
    return job;
}

void must_exist(const ReplicatorOptions& o) {
    if (!path_exists(o.database) && !path_exists(o.cache_dir))
        throw Error(ErrorKind::not_found,
                    "there is no database " + o.database + " and no " + o.cache_dir);
}

int flush(ToolContext& ctx, const ShipJob& job) {
    const ReplicatorOptions& o = job.replicator;
    must_exist(o);
    const Millis timeout = ctx.settings().timeout;
    const Json request{{"command", "flush"},
                       {"timeout_ms", static_cast<std::uint64_t>(timeout.count())}};
    // The limit of the run is kept by both: here it would end the waiting without a reason.
    const auto reply = ask_control(o.cache_dir, request, Millis(0), ctx.stop());
    if (!reply)
        throw Error(ErrorKind::transient, "no zl-walship ships " + o.database,
                    "--once does it without one");
    if (ctx.settings().json)
        ctx.print(dump_json(*reply));
    return kExitOk;
}

int status(ToolContext& ctx, const ShipJob& job, Millis max_lag) {
    const ReplicatorOptions& o = job.replicator;
    must_exist(o);
    const Millis limit = ctx.settings().timeout > Millis(0) ? Millis(0) : Millis(10'000);
    const auto reply = ask_control(o.cache_dir, Json{{"command", "status"}}, limit, ctx.stop());
    const ShipStatus s = reply ? status_from_json(*reply) : offline_status(job);
    ctx.print(ctx.settings().json ? dump_json(to_json(s)) : describe(s));
    const bool well = s.running && s.state != "fenced" && s.state != "failed" && s.state != "gap";
    return well && (max_lag == Millis(0) || s.lag <= max_lag) ? kExitOk : kExitNo;
}

int run(ToolContext& ctx, const ShipArguments& a) {
    check(ctx.options(), a);
    if (a.flush || a.status)
        ctx.leave_metrics(); // they are the running one's
    const ShipJob job = job_of(ctx, a);
    ctx.metrics().set_name(job.replicator.name);
    if (a.status)
        return status(ctx, job, a.max_lag);
    if (a.flush)
        return flush(ctx, job);
    return a.once ? ship_once(ctx, job) : ship(ctx, job);
}

} // namespace

int main(int argc, char** argv) {
    ShipArguments arguments;
    ToolSpec spec;
    spec.name = "zl-walship";
    spec.uses_store = true;
    spec.has_result = true;
    spec.last_stage = true;
    spec.declare = [&](Options& o) { declare(o, arguments); };
    return run_tool(argc, argv, spec, [&](ToolContext& ctx) { return run(ctx, arguments); });
}
