#include "layer/unpack.hpp"

#include "base/error.hpp"
#include "base/handle.hpp"
#include "layer/foreign_reader.hpp"
#include "layer/layer_reader.hpp"
#include "layer/path_filter.hpp"
#include "layer/staging.hpp"
#include "layer/tar_reader.hpp"

#include <sys/stat.h>

#include <vector>

namespace zl {

namespace {

/// The tar, counted for the progress display.
class CountedSource final : public Source {
public:
    CountedSource(Source& in, Progress& progress, std::stop_token stop)
        : in_(in), progress_(progress), stop_(std::move(stop)) {}
    std::size_t read(std::span<std::byte> buffer) override {
        if (stop_.stop_requested())
            throw Interrupted();
        const std::size_t n = in_.read(buffer);
        progress_.advance(static_cast<std::int64_t>(n));
        return n;
    }

private:
    Source& in_;
    Progress& progress_;
    std::stop_token stop_;
};

LayerStreamReader::Options reader_options(const UnpackOptions& o) {
    LayerStreamReader::Options options;
    options.threads = o.threads;
    options.foreign = o.foreign;
    options.max_size = o.max_size;
    return options;
}

void report_trailer(const LayerStreamReader::Result& read, UnpackResult& result, Log& log) {
    result.digest = read.digest;
    if (!read.trailer || !read.trailer->incomplete)
        return;
    result.incomplete = true;
    log.warn("the layer was packed incomplete: " + std::to_string(read.trailer->skipped_count) +
             " paths skipped or changed (-v names them)");
    for (const auto& s : read.trailer->skipped)
        log.info(s.path + ": " + s.reason);
}

/// DIR holds what an interrupted run was to put there, now finished. The same layer is then done.
UnpackResult compare_only(Source& in, const UnpackOptions& o, const std::string& digest, Log& log,
                          Progress& progress, const std::stop_token& stop) {
    LayerStreamReader layer(in, reader_options(o));
    CountedSource tar(layer, progress, stop);
    std::vector<std::byte> buffer(1 << 20);
    while (tar.read(buffer) != 0)
        ;
    UnpackResult result;
    report_trailer(layer.finish(), result, log);
    result.resumed = true;
    if (result.digest.hex() != digest)
        throw Error(ErrorKind::exists,
                    o.dir + ": holds the layer sha256:" + digest +
                        ", whose unpacking had been interrupted and is now finished",
                    "choose an empty or new directory, or merge into it with --merge");
    return result;
}

UnpackResult fill(Source& in, const UnpackOptions& o, Stage& stage, Losses& losses, Log& log,
                  Progress& progress, const std::stop_token& stop) {
    LayerStreamReader layer(in, reader_options(o));
    CountedSource tar(layer, progress, stop);
    const auto reader = o.foreign ? make_foreign_reader(tar) : std::make_unique<TarReader>(tar);
    PathFilter filter(o.paths);
    Applier::Options options;
    options.whiteouts = o.whiteouts;
    options.userxattr = o.userxattr;
    options.same_owner = !o.no_same_owner;
    options.foreign = o.foreign;
    options.partial = filter.active();
    Applier applier(stage.root(), options,
                    [&](const Deletion& deletion) { stage.add_deletion(deletion); }, losses, stop);
    UnpackResult result;
    TarEntry entry;
    std::uint64_t seen = 0;
    while (reader->next(entry)) {
        ++seen;
        if (!filter.takes(entry))
            continue;
        applier.add(entry, *reader);
        ++result.entries;
    }
    // I1: only now is anything of it proved.
    const LayerStreamReader::Result read = layer.finish();
    if (read.trailer && !o.foreign && read.trailer->file_count != seen)
        throw Error(ErrorKind::data, "layer stream: its trailer says " +
                                         std::to_string(read.trailer->file_count) +
                                         " entries, the tar has " + std::to_string(seen));
    report_trailer(read, result, log);
    filter.check_all_found();
    applier.finish();
    result.bytes = applier.bytes();
    stage.publish(result.digest.hex(), applier.implicit_dirs());
    return result;
}

} // namespace

UnpackResult unpack_layer(Source& in, const UnpackOptions& o, Log& log, Progress& progress,
                          std::stop_token stop) {
    const mode_t umask_before = ::umask(0);
    const Finally restore_umask([&] { ::umask(umask_before); });
    progress.begin("unpacking", std::nullopt);
    Losses losses(log);
    UnpackResult result;
    if (const auto digest = finish_interrupted(o.dir, log, losses); digest && !o.merge) {
        result = compare_only(in, o, *digest, log, progress, stop);
    } else {
        StageOptions options;
        options.dir = o.dir;
        options.merge = o.merge;
        options.whiteouts = o.whiteouts;
        options.userxattr = o.userxattr;
        options.new_mode = 0777 & ~umask_before;
        const auto stage = open_stage(options, log, losses);
        result = fill(in, o, *stage, losses, log, progress, stop);
    }
    losses.summary();
    result.incomplete |= losses.any();
    return result;
}

} // namespace zl
