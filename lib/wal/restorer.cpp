#include "wal/restorer.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/handle.hpp"
#include "wal/restore_list.hpp"
#include "wal/restore_run.hpp"
#include "wal/restore_site.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace zl {

struct Restorer::Impl : RestoreRun {
    using RestoreRun::RestoreRun;
    RestoreOutcome done;
};

Restorer::Restorer(ObjectStore& store, ReplicaKeys keys, Options options, Log& log,
                   Progress& progress, std::stop_token stop)
    : impl_(std::make_unique<Impl>(store, std::move(keys), std::move(options), log, progress,
                                   std::move(stop))) {}
Restorer::~Restorer() = default;

const RestoreOutcome& Restorer::done() const {
    return impl_->done;
}

bool Restorer::exists() {
    return ReplicaCatalogue(impl_->store, impl_->keys).exists();
}

RestorePlan Restorer::plan(const RestoreTarget& target) {
    ReplicaCatalogue catalogue(impl_->store, impl_->keys);
    return impl_->resolve(catalogue, target, "");
}

std::vector<RestorableRange> Restorer::list() {
    ReplicaCatalogue catalogue(impl_->store, impl_->keys);
    return list_restorable(catalogue, impl_->options.jobs, impl_->stop);
}

void Restorer::restore_file(const RestoreTarget& target, const std::string& file) {
    RestoreSite site(file, impl_->options.force ? RestoreSite::Existing::force
                                                : RestoreSite::Existing::refuse);
    RestoreOutcome out = impl_->rebuild(target, site.directory(), file);
    out.moved_aside = site.install(site.directory() + "/db");
    for (const std::string& path : out.moved_aside)
        impl_->log.warn("moved aside: " + path);
    impl_->done = std::move(out);
}

void Restorer::restore_stream(const RestoreTarget& target, const std::string& temp_dir, Sink& out) {
    std::string directory = temp_dir + "/zl-restore.XXXXXX";
    if (!::mkdtemp(directory.data()))
        throw sys_error("create " + directory).with_kind(ErrorKind::exists);
    Finally remove([&] {
        ::unlink((directory + "/segments").c_str());
        ::unlink((directory + "/db").c_str());
        ::rmdir(directory.c_str());
    });
    RestoreOutcome outcome = impl_->rebuild(target, directory, "");
    UniqueFd fd = open_file(directory + "/db", O_RDONLY);
    std::vector<std::byte> buffer(1 << 20);
    while (std::size_t n = read_full(fd.get(), buffer, directory + "/db")) {
        if (impl_->stop.stop_requested())
            throw Interrupted();
        out.write(Bytes(buffer).first(n));
    }
    impl_->done = std::move(outcome);
}

} // namespace zl
