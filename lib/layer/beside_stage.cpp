#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/random.hpp"
#include "layer/beneath.hpp"
#include "layer/stage_backends.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace zl {

namespace {

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::string stage_prefix(const std::string& name) {
    return "." + name.substr(0, 200) + ".zl-unpack-";
}

/// Whether @p name in @p parent is still the directory @p fd: a sweep may have been faster.
bool is_named(int parent, const std::string& name, int fd) {
    struct stat ours{}, named{};
    return ::fstat(fd, &ours) == 0 &&
           ::fstatat(parent, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/// Removes the stages of runs that died (S4). What cannot be removed is left: it is not in our way.
void sweep(const StageTarget& t, Log& log) {
    std::vector<std::string> found;
    const std::string prefix = stage_prefix(t.name);
    list_dir(t.parent_fd.get(), [&](const std::string& name) {
        if (name.starts_with(prefix))
            found.push_back(name);
        return true;
    });
    for (const auto& name : found) {
        const UniqueFd fd(::openat(t.parent_fd.get(), name.c_str(), kDirFlags));
        struct stat st{};
        if (!fd || ::fstat(fd.get(), &st) != 0 || st.st_uid != ::geteuid() ||
            !try_lock_dir(fd.get()) || !is_named(t.parent_fd.get(), name, fd.get()))
            continue;
        try {
            remove_tree(t.parent_fd.get(), name);
            log.info("removed " + t.parent + "/" + name + ", left by a run that died");
        } catch (const Error& e) {
            log.warn(std::string("cannot remove the stage of a run that died: ") + e.what());
        }
    }
}

class BesideStage final : public Stage {
public:
    BesideStage(StageTarget target, std::string name, UniqueFd fd, std::uint32_t new_mode)
        : target_(std::move(target)), stage_(std::move(name)), fd_(std::move(fd)),
          new_mode_(new_mode) {}
    ~BesideStage() override {
        if (published_)
            return;
        try {
            remove_tree(target_.parent_fd.get(), stage_);
        } catch (const std::exception&) {
            // The next run sweeps it.
        }
    }
    int root() const override { return fd_.get(); }
    void add_deletion(const Deletion&) override {} // there is nothing in DIR to delete
    void publish(const std::string& digest, const std::set<std::string>& implicit) override;

private:
    void default_attributes();
    void rename_into_place();

    StageTarget target_;
    std::string stage_;
    UniqueFd fd_;
    std::uint32_t new_mode_;
    bool published_ = false;
};

/// The layer does not describe its root: DIR keeps what it has.
void BesideStage::default_attributes() {
    struct stat st{};
    mode_t mode = new_mode_;
    if (target_.dir_fd && ::fstat(target_.dir_fd.get(), &st) == 0) {
        mode = st.st_mode & 07777;
        if (::fchown(fd_.get(), st.st_uid, st.st_gid) != 0)
            mode &= 0777;
    }
    if (::fchmod(fd_.get(), mode) != 0)
        throw sys_error("chmod " + target_.dir).with_kind(ErrorKind::io);
}

void BesideStage::rename_into_place() {
    const int parent = target_.parent_fd.get();
    // Over an empty directory rename(2) is atomic; where nothing is, nothing shall be replaced.
    int rc = target_.dir_fd
                 ? ::renameat(parent, stage_.c_str(), parent, target_.name.c_str())
                 : ::renameat2(parent, stage_.c_str(), parent, target_.name.c_str(),
                               RENAME_NOREPLACE);
    if (rc != 0 && !target_.dir_fd && (errno == EINVAL || errno == ENOSYS))
        // No such flag here (NFS): a directory still replaces at most an empty one.
        rc = ::renameat(parent, stage_.c_str(), parent, target_.name.c_str());
    if (rc == 0)
        return;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
        throw Error(ErrorKind::exists, target_.dir + ": was filled by somebody else meanwhile");
    throw sys_error("rename to " + target_.dir).with_kind(ErrorKind::exists);
}

void BesideStage::publish(const std::string&, const std::set<std::string>& implicit) {
    if (implicit.contains(std::string()))
        default_attributes();
    crash_point("unpack.filled");
    sync_file_system(fd_.get());
    crash_point("unpack.staged");
    rename_into_place();
    published_ = true;
    crash_point("unpack.renamed");
    if (::fsync(target_.parent_fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
        throw sys_error("fsync " + target_.parent).with_kind(ErrorKind::io);
}

/// Making it failed because we may not write there, not because something is wrong.
bool is_not_writable(int error) {
    return error == EACCES || error == EPERM || error == EROFS;
}

} // namespace

std::unique_ptr<Stage> make_beside_stage(StageTarget& target, const StageOptions& options,
                                         Log& log) {
    const int parent = target.parent_fd.get();
    sweep(target, log);
    for (int attempt = 0; attempt < 16; ++attempt) {
        const std::string name = stage_prefix(target.name) + random_hex(8);
        if (::mkdirat(parent, name.c_str(), 0700) != 0) {
            if (errno == EEXIST)
                continue;
            if (is_not_writable(errno))
                return nullptr;
            throw sys_error("make " + target.parent + "/" + name).with_kind(ErrorKind::io);
        }
        UniqueFd fd(::openat(parent, name.c_str(), kDirFlags));
        if (!fd || !try_lock_dir(fd.get()) || !is_named(parent, name, fd.get()))
            continue; // another run's sweep took it for dead before we had the lock
        neutralise_dir(fd.get());
        return std::make_unique<BesideStage>(std::move(target), name, std::move(fd),
                                             options.new_mode);
    }
    throw Error(ErrorKind::io, "cannot make a stage in " + target.parent);
}

} // namespace zl
