/// zl-pull REF: store -> layer stream, parallel, verified.
#include "base/error.hpp"
#include "tool.hpp"

using namespace zl;

namespace {

struct PullArguments {
    std::vector<std::string> ref;
    std::string output, have;
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
    o.operands("REF", a.ref, 1, 1);
    o.text("-o,--output", "FILE", a.output, "write FILE, continuing a broken download; - is stdout",
           Scope::command_line);
    o.list("--path", "P", a.paths, "fetch only the file or subtree P; repeatable",
           Scope::command_line);
    o.text("--have", "DIGEST", a.have, "fetch only what this earlier layer lacks",
           Scope::command_line);
    o.number("--jobs", a.jobs, 1, 64, "ranges in flight");
    o.size("--part-size", a.part_size, "fetch in ranges of this size");
}

int pull(ToolContext& ctx, const PullArguments& a) {
    ctx.metrics().set_name(a.ref.front());
    if (a.output.empty())
        refuse_terminal_stdout("pipe it into zl-unpack, or use -o FILE");
    throw Error(ErrorKind::internal, "not linked yet");
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
