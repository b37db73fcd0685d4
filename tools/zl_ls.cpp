/// zl-ls [WHAT]...: lists and checks what a store holds, without any local state.
#include "base/error.hpp"
#include "ls_ask.hpp"
#include "ls_list.hpp"
#include "tool.hpp"
#include "transfer/layer_keys.hpp"

using namespace zl;

namespace {

struct LsArguments {
    std::vector<std::string> what;
    bool details = false, uploads = false;
    std::string check;
    Millis max_age{0};
    int jobs = 8;
};

void declare(Options& o, LsArguments& a) {
    o.usage("[OPTION]... [WHAT]...");
    o.summary(
        "List and check what a store holds. WHAT is a NAME (its pushes), 8 or more digits of a\n"
        "digest, REF:/PATH (what is in a layer) or db/NAME; without it, everything.");
    o.example("zl-ls");
    o.example("zl-ls -l web1:/etc");
    o.example("zl-ls --check=full db/app");
    o.example("zl-ls --max-age=25h web1 >/dev/null");
    o.operands("WHAT", a.what, 0);
    o.flag("-l,--long", a.details, "more columns", Scope::command_line);
    o.choosing_flag("--check", {"meta", "full"}, a.check,
                    "is all of it whole? =meta (default): few bytes of each object; =full: all",
                    Scope::command_line);
    o.duration("--max-age", a.max_age, "is there anything newer than this?", Scope::command_line);
    o.flag("--uploads", a.uploads, "multipart uploads under way", Scope::command_line);
    o.number("--jobs", a.jobs, 1, 64, "requests in flight");
}

void check_arguments(const LsArguments& a, bool max_age) {
    if ((a.check.empty() ? 0 : 1) + (max_age ? 1 : 0) + (a.uploads ? 1 : 0) > 1)
        throw Error(ErrorKind::usage, "--check, --max-age and --uploads exclude each other");
    if (a.uploads && !a.what.empty())
        throw Error(ErrorKind::usage, "--uploads takes no WHAT");
}

int ls(ToolContext& ctx, const LsArguments& a) {
    const bool max_age = ctx.options().given("max-age");
    check_arguments(a, max_age);
    ctx.metrics().set_name(a.what.size() == 1 ? a.what.front() : "");
    auto store = ctx.open_store(a.jobs + 2);
    const std::string& prefix = ctx.settings().prefix;
    LsContext context{
        ctx,       *store, prefix.empty() ? kDefaultLayerPrefix : prefix, !prefix.empty(),
        a.details, a.jobs};
    if (a.uploads)
        return ls_uploads(context);
    if (!a.check.empty())
        return ls_check(context, a.what, a.check == "full");
    if (max_age)
        return ls_max_age(context, a.what, a.max_age);
    if (a.what.empty())
        return ls_overview(context);
    for (const std::string& what : a.what)
        ls_what(context, what);
    return kExitOk;
}

} // namespace

int main(int argc, char** argv) {
    LsArguments arguments;
    ToolSpec spec;
    spec.name = "zl-ls";
    spec.uses_store = true;
    spec.has_result = true;
    spec.last_stage = true;
    spec.declare = [&](Options& o) { declare(o, arguments); };
    return run_tool(argc, argv, spec, [&](ToolContext& ctx) { return ls(ctx, arguments); });
}
