/// zl-unpack -C DIR: layer stream -> directory, all or nothing.
#include "base/error.hpp"
#include "layer/unpack.hpp"
#include "tool.hpp"

#include <unistd.h>

using namespace zl;

namespace {

struct UnpackArguments {
    std::string dir;
    std::string whiteouts = "overlay";
    bool userxattr = false, merge = false, no_same_owner = false, foreign = false, check = false;
    std::uint64_t max_size = 0; ///< 0 = no limit
    int threads = 0;
    std::vector<std::string> paths;
};

void declare(Options& o, UnpackArguments& a) {
    o.usage("[OPTION]... -C DIR [PATH]...");
    o.summary(
        "Unpack the layer stream from stdin into DIR, which is afterwards either complete or as\n"
        "it was before. With PATHs: only these files and subtrees.");
    o.example("zl-pull web1 | zl-unpack -C /upper");
    o.example("zl-unpack --merge --whiteouts apply -C /srv/web1 < web1.tar.zst");
    o.operands("PATH", a.paths, 0);
    o.text("-C,--directory", "DIR", a.dir, "where to; absent or empty unless --merge",
           Scope::command_line);
    o.choice("--whiteouts", {"overlay", "oci", "apply"}, a.whiteouts,
             "deleted files become overlay marks, stay .wh. files, or are deleted",
             Scope::command_line);
    o.flag("--userxattr", a.userxattr, "write overlay marks as user.overlay.*");
    o.flag("--merge", a.merge, "into a directory that holds files", Scope::command_line);
    o.flag("--no-same-owner", a.no_same_owner, "do not restore owners");
    o.flag("--foreign", a.foreign, "accept a .tar.zst that zl-pack did not write",
           Scope::command_line);
    o.size("--max-size", a.max_size, "refuse more than this, unpacked; 0 = no limit");
    o.number("--threads", a.threads, 0, 256, "decompress with N threads, 0 = one per processor");
    o.flag("--check", a.check, "only say whether DIR is complete (0) or not (1)",
           Scope::command_line);
}

WhiteoutMode whiteout_mode(const std::string& word) {
    return word == "oci"     ? WhiteoutMode::oci
           : word == "apply" ? WhiteoutMode::apply
                             : WhiteoutMode::overlay;
}

int check(const UnpackArguments& a, Log& log) {
    if (!is_incomplete(a.dir))
        return kExitOk;
    log.warn(a.dir + ": an unpacking was interrupted; run it again to finish it");
    return kExitNo;
}

int unpack(ToolContext& ctx, const UnpackArguments& a) {
    if (a.dir.empty())
        throw Error(ErrorKind::usage, "missing -C DIR");
    if (a.check && !a.paths.empty())
        throw Error(ErrorKind::usage, "--check takes no PATH");
    if (a.check)
        return check(a, ctx.log());
    refuse_terminal_stdin("pipe zl-pull into it, or use < FILE");
    UnpackOptions options;
    options.dir = a.dir;
    options.whiteouts = whiteout_mode(a.whiteouts);
    options.userxattr = a.userxattr;
    options.merge = a.merge;
    options.no_same_owner = a.no_same_owner;
    options.foreign = a.foreign;
    if (a.max_size != 0)
        options.max_size = a.max_size;
    options.threads = static_cast<unsigned>(a.threads);
    options.paths = a.paths;
    FdSource in(STDIN_FILENO, "stdin", ctx.stop());
    const UnpackResult result = unpack_layer(in, options, ctx.log(), ctx.progress(), ctx.stop());
    return result.incomplete ? kExitIncomplete : kExitOk;
}

} // namespace

int main(int argc, char** argv) {
    UnpackArguments arguments;
    ToolSpec spec;
    spec.name = "zl-unpack";
    spec.last_stage = true;
    spec.declare = [&](Options& o) { declare(o, arguments); };
    return run_tool(argc, argv, spec, [&](ToolContext& ctx) { return unpack(ctx, arguments); });
}
