/// zl-prune: retention and clean-up; changes nothing without --apply.
#include "base/error.hpp"
#include "prune/grace.hpp"
#include "prune_run.hpp"
#include "store/name.hpp"

#include <algorithm>

using namespace zl;

namespace {

void declare(Options& o, PruneArguments& a) {
    o.usage("[OPTION]... NAME|db/NAME... | --all");
    o.summary("Remove what no rule keeps: names of layers, layers without a name, old restore\n"
              "points of databases, left uploads. Only says what it would do, unless --apply.");
    o.example("zl-prune --keep-daily 7 --keep-weekly 4 web1");
    o.example("zl-prune --keep-last 3 --keep-within 30d --uploads-older 7d --apply --all");
    o.example("zl-prune --keep-within 30d --apply db/app");
    o.operands("NAME", a.operands, 0);
    const int most = 1000000000;
    o.number("--keep-last", a.rules.last, 0, most, "keep the newest N of a name");
    o.number("--keep-hourly", a.rules.hourly, 0, most, "the newest of each of N hours (UTC)");
    o.number("--keep-daily", a.rules.daily, 0, most, "the newest of each of N days");
    o.number("--keep-weekly", a.rules.weekly, 0, most, "the newest of each of N weeks");
    o.number("--keep-monthly", a.rules.monthly, 0, most, "the newest of each of N months");
    o.duration("--keep-within", a.within, "all that is not older; databases: restore points");
    o.flag("--all", a.all, "all names and databases", Scope::command_line);
    o.text("--generation", "G", a.generation, "remove this generation of db/NAME, once left",
           Scope::command_line);
    o.duration("--uploads-older", a.uploads_older, "abort multipart uploads without a newer part");
    o.flag("--local", a.local, "also remove what dead pushes left on this machine",
           Scope::command_line);
    o.text("--spool-dir", "DIR", a.spool_dir, "that of zl-push, for --local");
    o.text("--state-db", "FILE", a.state_db, "that of zl-push");
    o.flag("--apply", a.apply, "do it", Scope::command_line);
}

void check_rules(const PruneArguments& a) {
    const bool names = a.all || !a.layers.names.empty();
    if (names && !a.rules.any())
        throw Error(ErrorKind::usage, "no rule says what to keep: nothing is removed",
                    "give one of --keep-last, -hourly, -daily, -weekly, -monthly, -within; "
                    "--keep-last 1000000 keeps every name and only removes layers without one");
    if (!a.databases.empty() && !a.rules.within && a.generation.empty())
        throw Error(ErrorKind::usage,
                    a.rules.counts() ? "--keep-last, -hourly, -daily, -weekly and -monthly count "
                                       "layers, not the moments of a database"
                                     : "no rule says what to keep of db/" + a.databases.front(),
                    "give --keep-within D, or --generation G");
    if (!a.generation.empty() && (a.databases.size() != 1 || names))
        throw Error(ErrorKind::usage, "--generation needs one db/NAME and nothing else");
}

/// Sorts the operands, and refuses what cannot be meant.
void check(ToolContext& ctx, PruneArguments& a) {
    if (ctx.options().given("keep-within"))
        a.rules.within = std::min<Millis>(a.within, std::chrono::days(36500));
    for (const std::string& name : a.operands) {
        if (name.starts_with(kDatabaseOperand)) {
            a.databases.push_back(name.substr(kDatabaseOperand.size()));
            check_db_name(a.databases.back());
        } else {
            check_name(name);
            a.layers.names.push_back(name);
        }
    }
    a.layers.all = a.all;
    if (a.all && !a.operands.empty())
        throw Error(ErrorKind::usage, "--all and names exclude each other");
    if (!a.all && a.operands.empty() && !a.local && !ctx.options().given("uploads-older"))
        throw Error(ErrorKind::usage, "nothing to do: give a NAME, db/NAME, --all, "
                                      "--uploads-older or --local");
    check_rules(a);
    if (!ctx.settings().prefix.empty() && !a.databases.empty() &&
        (a.databases.size() != 1 || !a.layers.names.empty()))
        throw Error(ErrorKind::usage, "--prefix stands for one thing: one db/NAME, or layers");
    if (ctx.options().given("uploads-older") && a.uploads_older < grace_period())
        throw Error(ErrorKind::usage, "--uploads-older " + exact_duration(a.uploads_older) +
                                          ": at least " + exact_duration(grace_period()) +
                                          ", as a running upload may rest for long");
}

int prune(ToolContext& ctx, PruneArguments& a) {
    check(ctx, a);
    if (a.operands.size() == 1)
        ctx.metrics().set_name(a.operands.front());
    run_prune(ctx, a);
    return kExitOk;
}

} // namespace

int main(int argc, char** argv) {
    PruneArguments arguments;
    ToolSpec spec;
    spec.name = "zl-prune";
    spec.uses_store = true;
    spec.has_result = true;
    spec.last_stage = true;
    spec.declare = [&](Options& o) { declare(o, arguments); };
    return run_tool(argc, argv, spec, [&](ToolContext& ctx) { return prune(ctx, arguments); });
}
