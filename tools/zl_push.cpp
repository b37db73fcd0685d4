/// zl-push: layer stream -> store, resumable.
#include "base/child.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "push_dry_run.hpp"
#include "store/name.hpp"
#include "tool.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/pusher.hpp"

#include <fcntl.h>
#include <unistd.h>

using namespace zl;

namespace {

struct PushArguments {
    std::string name;
    std::uint64_t part_size = 64 << 20;
    int jobs = 4;
    std::string spool_dir, state_db;
    bool foreign = false, raw = false, accept_eof = false, force = false;
    bool resume = false, list = false, dry_run = false;
    std::vector<std::string> tags;
    std::vector<std::string> command;
};

void declare(Options& o, PushArguments& a) {
    o.usage("[OPTION]... [-- CMD [ARG]...]");
    o.summary("Store the layer stream from stdin, or from what CMD writes, and print its digest.\n"
              "Cut off at any point, the next run continues.");
    o.example("zl-pack /upper | zl-push --name web1");
    o.example("zl-push --name web1 -- zl-pack /upper");
    o.example("zl-push --resume");
    o.text("--name", "NAME", a.name, "record the layer as the newest of NAME");
    o.size("--part-size", a.part_size, "send in parts of this size");
    o.number("--jobs", a.jobs, 1, 64, "parts in flight");
    o.text("--spool-dir", "DIR", a.spool_dir, "where input waits until it is stored");
    o.text("--state-db", "FILE", a.state_db, "database of unfinished pushes");
    o.flag("--foreign", a.foreign, "accept a .tar.zst that zl-pack did not write",
           Scope::command_line);
    o.flag("--raw", a.raw, "store bytes that are no layer, such as encrypted ones",
           Scope::command_line);
    o.flag("--accept-eof", a.accept_eof, "take the end of raw input for its completeness",
           Scope::command_line);
    o.flag("--force", a.force, "send it even if it is already stored", Scope::command_line);
    o.list("--tag", "K=V", a.tags, "note in the layer's metadata; repeatable");
    o.flag("--resume", a.resume, "finish what earlier runs left; reads no input",
           Scope::command_line);
    o.flag("--list", a.list, "with --resume: only list it", Scope::command_line);
    o.flag("-n,--dry-run", a.dry_run, "say where it would go, as whom, and whether that is allowed",
           Scope::command_line);
    o.command(a.command);
}

void check(const PushArguments& a) {
    if (a.list && !a.resume)
        throw Error(ErrorKind::usage, "--list needs --resume");
    if (a.resume && !a.command.empty())
        throw Error(ErrorKind::usage, "--resume reads no input, so it takes no command");
    if (a.dry_run && a.resume)
        throw Error(ErrorKind::usage, "--dry-run and --resume exclude each other",
                    "--resume --list shows what is unfinished");
    if (a.raw && a.foreign)
        throw Error(ErrorKind::usage, "--raw and --foreign exclude each other");
    if (a.accept_eof && !a.raw)
        throw Error(ErrorKind::usage, "--accept-eof needs --raw");
    if (a.raw && !a.resume && !a.dry_run && a.command.empty() && !a.accept_eof)
        throw Error(ErrorKind::usage, "--raw cannot see whether its input is complete",
                    "run the producer as `zl-push --raw -- CMD`, or say --accept-eof");
    if (a.part_size < kMinPartSize || a.part_size > kMaxPartSize)
        throw Error(ErrorKind::usage, "--part-size " + format_size(a.part_size) +
                                          ": S3 takes parts of 5 MiB to 5 GiB");
}

std::string tags_json(const std::vector<std::string>& tags) {
    Json j = Json::object();
    for (const std::string& tag : tags) {
        auto equals = tag.find('=');
        if (equals == std::string::npos || equals == 0)
            throw Error(ErrorKind::usage, "bad tag '" + tag + "', expected KEY=VALUE");
        j[tag.substr(0, equals)] = tag.substr(equals + 1);
    }
    return dump_json(j);
}

PushOptions push_options(ToolContext& ctx, const PushArguments& a) {
    PushOptions o;
    o.store_url = ctx.settings().store;
    o.prefix = ctx.settings().prefix.empty() ? kDefaultLayerPrefix : ctx.settings().prefix;
    o.name = a.name;
    o.kind = a.raw ? LayerKind::raw : a.foreign ? LayerKind::foreign : LayerKind::layer;
    o.jobs = a.jobs;
    o.part_size = a.part_size;
    o.spool_dir = a.spool_dir.empty() ? ctx.state_dir() + "/spool" : a.spool_dir;
    o.force = a.force;
    o.tags = tags_json(a.tags);
    return o;
}

void print_outcome(ToolContext& ctx, const PushOutcome& p) {
    if (!ctx.settings().json)
        return ctx.print("sha256:" + p.digest);
    Json j;
    j["digest"] = "sha256:" + p.digest;
    j["kind"] = p.kind;
    j["key"] = p.key;
    if (!p.name.empty())
        j["name"] = p.name;
    j["size_bytes"] = p.size_bytes;
    j["compressed_size_bytes"] = p.compressed_size_bytes;
    j["bytes_sent"] = p.bytes_sent;
    j["already_stored"] = p.already_stored;
    j["resumed"] = p.resumed;
    j["incomplete"] = p.incomplete;
    ctx.print(dump_json(j));
}

void print_pending(ToolContext& ctx, const Pusher::Pending& p) {
    if (!ctx.settings().json)
        return ctx.print((p.row.digest.empty() ? "-" : "sha256:" + p.row.digest) + "\t" +
                         (p.row.name.empty() ? "-" : p.row.name) + "\t" +
                         (p.busy   ? "busy"
                          : p.lost ? "lost"
                                   : p.row.state) +
                         "\t" + std::to_string(p.parts_bytes) +
                         "\t" + std::to_string(p.row.blob_size) + "\t" + p.row.created_at + "\t" +
                         p.row.store);
    Json j;
    j["digest"] = p.row.digest.empty() ? Json() : Json("sha256:" + p.row.digest);
    j["name"] = p.row.name;
    j["state"] = p.row.state;
    j["busy"] = p.busy;
    j["lost"] = p.lost;
    j["stored_bytes"] = p.parts_bytes;
    j["blob_size"] = p.row.blob_size;
    j["created_at"] = p.row.created_at;
    j["store"] = p.row.store;
    j["spool"] = p.row.spool;
    j["last_error"] = p.row.last_error;
    ctx.print(dump_json(j));
}

Error producer_failed(const std::string& command, int code) {
    return Error(ErrorKind::data,
                 command +
                     (code > 128 ? " was ended by signal " + std::to_string(code - 128)
                                 : " ended with exit code " + std::to_string(code)) +
                     ": nothing was stored");
}

/// Runs CMD and stores what it writes: only if it ends with 0, or with 3 and a true trailer.
PushOutcome push_command(Pusher& pusher, const PushArguments& a, std::stop_token stop) {
    Child child(a.command);
    FdSource in(child.stdout_fd(), a.command[0], stop);
    bool input_taken = false;
    try {
        return pusher.push(in, [&](const SpoolResult& s) {
            int code = child.wait(stop);
            if (code != 0 && !(code == 3 && s.kind == LayerKind::layer && s.incomplete))
                throw producer_failed(a.command[0], code);
            input_taken = true;
        });
    } catch (const Error& e) {
        // A cut stream is the consequence; the command's own end is the cause to be told.
        std::optional<int> code;
        if (!input_taken && e.kind() == ErrorKind::data)
            code = child.wait_for(500);
        if (code.value_or(0) == 0)
            throw;
        throw producer_failed(a.command[0], *code).with_hint(e.what());
    }
}

int push(ToolContext& ctx, const PushArguments& a) {
    check(a);
    if (ctx.options().given("name"))
        check_name(a.name); // an empty one too: `--name "$UNSET"` is a mistake
    if (!a.resume && !a.dry_run && a.command.empty())
        refuse_terminal_stdin("pipe zl-pack into it, or use `zl-push -- zl-pack DIR`");
    StateDb db(a.state_db.empty() ? ctx.state_dir() + "/push.db" : a.state_db);
    auto open = [&](const std::string& url) { return ctx.open_store(a.jobs + 2, url); };
    const PushOptions options = push_options(ctx, a);
    Pusher pusher(db, options, open, ctx.log(), ctx.progress(), ctx.stop());
    if (a.dry_run) {
        push_dry_run(ctx, pusher, options, *open(options.store_url));
        return kExitOk;
    }
    if (a.list) {
        for (const Pusher::Pending& p : pusher.list())
            print_pending(ctx, p);
        return kExitOk;
    }
    bool incomplete = false;
    auto report = [&](const PushOutcome& p) {
        incomplete = incomplete || p.incomplete;
        ctx.metrics().set("zl_sent_bytes", static_cast<double>(p.bytes_sent),
                          "Bytes of the layer that were sent");
        print_outcome(ctx, p);
    };
    if (a.resume) {
        pusher.resume_all(report);
        return incomplete ? kExitIncomplete : kExitOk;
    }
    ctx.metrics().set_name(a.name);
    if (a.command.empty()) {
        ::fcntl(STDIN_FILENO, F_SETPIPE_SZ, 1 << 20); // fewer switches; no pipe, no matter
        FdSource in(STDIN_FILENO, "stdin", ctx.stop());
        report(pusher.push(in, [](const SpoolResult&) {}));
    } else {
        report(push_command(pusher, a, ctx.stop()));
    }
    pusher.finish_pending();
    return incomplete ? kExitIncomplete : kExitOk;
}

} // namespace

int main(int argc, char** argv) {
    PushArguments arguments;
    ToolSpec spec;
    spec.name = "zl-push";
    spec.uses_store = true;
    spec.has_result = true;
    spec.last_stage = true;
    spec.declare = [&](Options& o) { declare(o, arguments); };
    return run_tool(argc, argv, spec, [&](ToolContext& ctx) { return push(ctx, arguments); });
}
