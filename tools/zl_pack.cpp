/// zl-pack DIR: directory -> deterministic layer stream.
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/shown.hpp"
#include "base/units.hpp"
#include "layer/pack.hpp"
#include "tool.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace zl;

namespace {

struct PackArguments {
    std::vector<std::string> dir;
    std::string output;
    int level = 3;
    int threads = 0;
    std::vector<std::string> exclude, lower;
    bool one_file_system = false, userxattr = false, dry_run = false;
    std::string whiteouts = "oci", sparse = "auto", changed = "warn";
};

void declare(Options& o, PackArguments& a) {
    o.usage("[OPTION]... DIR");
    o.summary(
        "Pack a directory, such as the upper directory of an OverlayFS, into a deterministic\n"
        ".tar.zst on stdout. The same tree always gives the same bytes.");
    o.example("zl-pack /upper | zl-push --name web1");
    o.example("zl-pack -o web1.tar.zst /upper");
    o.operands("DIR", a.dir, 1, 1);
    o.text("-o,--output", "FILE", a.output, "write FILE, all or nothing; - is stdout",
           Scope::command_line);
    o.flag("-n,--dry-run", a.dry_run, "write no layer: list what would be in it, and its size",
           Scope::command_line);
    o.number("--level", a.level, 1, 22, "zstd level, 1 to 22");
    o.number("--threads", a.threads, 0, 256, "compress with N threads, 0 = one per processor");
    o.list("--exclude", "GLOB", a.exclude, "leave out what matches; repeatable");
    o.flag("--one-file-system", a.one_file_system, "do not descend into other file systems");
    o.choice("--whiteouts", {"oci", "overlay"}, a.whiteouts, "how deleted files are written",
             Scope::command_line);
    o.flag("--userxattr", a.userxattr, "the overlay was mounted with userxattr");
    o.list("--lower", "DIR", a.lower, "a lower directory of the overlay; repeatable, topmost first",
           Scope::command_line);
    o.choice("--sparse", {"auto", "never", "always"}, a.sparse,
             "write holes as pax sparse entries");
    o.choice("--changed", {"warn", "ok", "fail"}, a.changed,
             "what a file that changes while it is read means");
}

PackOptions pack_options(const PackArguments& a) {
    PackOptions o;
    o.dir = a.dir.front();
    o.level = a.level;
    o.threads = static_cast<unsigned>(a.threads);
    o.excludes = a.exclude;
    o.one_file_system = a.one_file_system;
    o.userxattr = a.userxattr;
    o.lowers = a.lower;
    if (a.whiteouts == "overlay")
        o.whiteouts = PackOptions::Whiteouts::overlay;
    if (a.sparse != "auto")
        o.sparse = a.sparse == "never" ? PackOptions::Sparse::never : PackOptions::Sparse::always;
    if (a.changed != "warn")
        o.changed = a.changed == "ok" ? PackOptions::Changed::ok : PackOptions::Changed::fail;
    return o;
}

/// Only a regular file, or none, can be replaced as a whole; a pipe or a device is written to.
bool is_replaceable(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) != 0 || S_ISREG(st.st_mode);
}

Trailer pack_to_file(ToolContext& ctx, const PackOptions& options, const std::string& path) {
    const auto cannot_create = [](Error e) { return e.with_kind(ErrorKind::exists); }; // 73
    if (!is_replaceable(path)) {
        const UniqueFd fd = [&] {
            try {
                return open_file(path, O_WRONLY);
            } catch (const Error& e) {
                throw cannot_create(e);
            }
        }();
        FdSink sink(fd.get(), path, ctx.stop());
        return pack_directory(options, sink, ctx.log(), ctx.progress(), ctx.stop());
    }
    AtomicFile file = [&] {
        try {
            return AtomicFile(path);
        } catch (const Error& e) {
            throw cannot_create(e);
        }
    }();
    FdSink sink(file.fd(), path);
    Trailer trailer = pack_directory(options, sink, ctx.log(), ctx.progress(), ctx.stop());
    file.commit();
    return trailer;
}

Trailer pack_to_stdout(ToolContext& ctx, const PackOptions& options) {
    FdSink sink(STDOUT_FILENO, "stdout", ctx.stop());
    return pack_directory(options, sink, ctx.log(), ctx.progress(), ctx.stop());
}

/// Reads everything as a real run does, so that sizes, digest and exit code are those of one.
Trailer list_only(ToolContext& ctx, PackOptions options) {
    options.on_entry = [&](const TocEntry& e) {
        ctx.print(std::string(1, static_cast<char>(e.type)) + "\t" + std::to_string(e.size) + "\t" +
                  shown(e.path));
    };
    FunctionSink nowhere([](Bytes) {});
    Trailer t = pack_directory(options, nowhere, ctx.log(), ctx.progress(), ctx.stop());
    ctx.print("total\t" + std::to_string(t.file_count) + " entries\t" + format_size(t.size_bytes) +
              " of tar\t" + format_size(t.data_bytes) + " compressed\tsha256:" + t.digest.hex());
    return t;
}

Trailer write_layer(ToolContext& ctx, const PackOptions& options, const std::string& output) {
    return output.empty() || output == "-" ? pack_to_stdout(ctx, options)
                                           : pack_to_file(ctx, options, output);
}

int pack(ToolContext& ctx, const PackArguments& a) {
    if (a.dry_run && !a.output.empty())
        throw Error(ErrorKind::usage, "--dry-run writes no layer: it does not go with --output");
    if (a.output.empty() && !a.dry_run)
        refuse_terminal_stdout("pipe it into zl-push, or use -o FILE");
    const PackOptions options = pack_options(a);
    const Trailer t = a.dry_run ? list_only(ctx, options) : write_layer(ctx, options, a.output);
    ctx.log().info("sha256:" + t.digest.hex() + ", " + std::to_string(t.file_count) + " entries, " +
                   format_size(t.size_bytes) + " of tar, " + format_size(t.data_bytes) +
                   " compressed");
    ctx.metrics().set("zl_layer_bytes", static_cast<double>(t.size_bytes), "Size of the tar.");
    ctx.metrics().set("zl_layer_compressed_bytes", static_cast<double>(t.data_bytes),
                      "Size of the compressed tar.");
    ctx.metrics().set("zl_layer_entries", static_cast<double>(t.file_count), "Entries of the tar.");
    ctx.metrics().set("zl_layer_skipped", static_cast<double>(t.skipped_count),
                      "Paths that were skipped or changed while they were read.");
    return t.incomplete ? kExitIncomplete : kExitOk;
}

} // namespace

int main(int argc, char** argv) {
    PackArguments arguments;
    ToolSpec spec;
    spec.name = "zl-pack";
    spec.declare = [&](Options& o) { declare(o, arguments); };
    return run_tool(argc, argv, spec, [&](ToolContext& ctx) { return pack(ctx, arguments); });
}
