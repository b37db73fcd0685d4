/// zl-pull REF: store -> layer stream, parallel, verified.
#include "base/error.hpp"
#include "base/json.hpp"
#include "tool.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/puller.hpp"

#include <fcntl.h>
#include <unistd.h>

using namespace zl;

namespace {

struct PullArguments {
    std::vector<std::string> ref;
    std::string output;
    int jobs = 4;
    std::uint64_t part_size = 16 << 20;
    std::vector<std::string> paths;
};

void declare(Options& o, PullArguments& a) {
    o.usage("[OPTION]... REF");
    o.summary(
        "Fetch a layer from the store to stdout, verified. REF is a NAME (its newest layer),\n"
        "NAME@TIME (newest not after TIME), sha256:HEX, 8 or more hex digits, or latest.");
    o.example("zl-pull web1 | zl-unpack -C /upper");
    o.example("zl-pull web1@2026-11-22T06:00:00Z | tar --zstd -tv");
    o.example("zl-pull -o web1.tar.zst web1");
    o.example("zl-pull --path etc/app web1 | zl-unpack -C /tmp/app");
    o.operands("REF", a.ref, 1, 1);
    o.text("-o,--output", "FILE", a.output, "write FILE, continuing a broken download; - is stdout",
           Scope::command_line);
    o.list("--path", "P", a.paths, "fetch only the file or subtree P; repeatable",
           Scope::command_line);
    o.number("--jobs", a.jobs, 1, 64, "ranges in flight");
    o.size("--part-size", a.part_size, "fetch in ranges of this size");
}

void check(const PullArguments& a, bool to_file) {
    if (a.part_size < 64 << 10 || a.part_size > 1 << 30)
        throw Error(ErrorKind::usage,
                    "--part-size " + format_size(a.part_size) + ": 64 KiB to 1 GiB are possible");
    if (to_file && !a.paths.empty())
        throw Error(ErrorKind::usage, "--path writes to stdout only",
                    "zl-pull --path P REF > FILE");
    if (a.output.empty())
        refuse_terminal_stdout("pipe it into zl-unpack, or use -o FILE");
}

int pull(ToolContext& ctx, const PullArguments& a) {
    bool to_file = !a.output.empty() && a.output != "-";
    check(a, to_file);
    ctx.metrics().set_name(a.ref.front());
    PullOptions options;
    options.prefix = ctx.settings().prefix.empty() ? kDefaultLayerPrefix : ctx.settings().prefix;
    options.jobs = a.jobs;
    options.part_size = a.part_size;
    auto store = ctx.open_store(a.jobs + 2);
    Puller puller(*store, options, ctx.log(), ctx.progress(), ctx.stop());
    PullTarget target = puller.find(a.ref.front());

    PullOutcome outcome;
    if (to_file) {
        outcome = puller.pull_to_file(target, a.output);
    } else {
        ::fcntl(STDOUT_FILENO, F_SETPIPE_SZ, 1 << 20); // fewer switches; no pipe, no matter
        FdSink out(STDOUT_FILENO, "stdout", ctx.stop());
        outcome =
            a.paths.empty() ? puller.pull(target, out) : puller.pull_paths(target, a.paths, out);
    }
    ctx.metrics().set("zl_fetched_bytes", static_cast<double>(outcome.bytes),
                      "Bytes of the stored layer that were fetched");
    return outcome.incomplete ? kExitIncomplete : kExitOk;
}

} // namespace

int main(int argc, char** argv) {
    PullArguments arguments;
    ToolSpec spec;
    spec.name = "zl-pull";
    spec.uses_store = true;
    spec.declare = [&](Options& o) { declare(o, arguments); };
    return run_tool(argc, argv, spec, [&](ToolContext& ctx) { return pull(ctx, arguments); });
}
