#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "layer/beneath.hpp"
#include "layer/merger.hpp"
#include "layer/stage_backends.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace zl {

namespace {

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

[[noreturn]] void busy() {
    throw Error(ErrorKind::transient, "another zl-unpack is at work in this directory",
                "run again when it is done");
}

/// DIR/.zl-unpack, made if need be, locked by us.
UniqueFd lock_stage(int dir_fd, const std::string& dir) {
    for (int attempt = 0; attempt < 16; ++attempt) {
        if (::mkdirat(dir_fd, kInsideStage, 0700) != 0 && errno != EEXIST)
            throw sys_error("make " + dir + "/" + kInsideStage);
        UniqueFd fd(::openat(dir_fd, kInsideStage, kDirFlags));
        if (!fd && errno == ENOENT)
            continue; // its owner has just removed it
        struct stat ours{}, named{};
        if (!fd || ::fstat(fd.get(), &ours) != 0)
            throw sys_error("open " + dir + "/" + kInsideStage).with_kind(ErrorKind::exists);
        if (ours.st_uid != ::geteuid() && ::geteuid() != 0)
            throw Error(ErrorKind::denied, dir + "/" + kInsideStage + ": belongs to another user");
        if (!try_lock_dir(fd.get()))
            busy();
        if (::fstatat(dir_fd, kInsideStage, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
            named.st_ino == ours.st_ino && named.st_dev == ours.st_dev)
            return fd;
    }
    busy();
}

void clear_dir(int fd) {
    std::vector<std::string> names;
    list_dir(fd, [&](const std::string& name) {
        names.push_back(name);
        return true;
    });
    for (const auto& name : names)
        remove_tree(fd, name);
}

void set_mtime(int fd, const Journal& j) {
    const timespec times[2] = {{0, UTIME_OMIT},
                               {static_cast<time_t>(*j.mtime), static_cast<long>(j.mtime_ns)}};
    // Its value is right on disk but for the removal of our own names; a failure loses nothing else.
    if (::futimens(fd, times) != 0)
        errno = 0;
}

/// From the journal's state to the end (staging.hpp, i3 to i6). Repeatable.
void roll_forward(int dir_fd, int stage_fd, Journal journal, Losses& losses) {
    if (journal.state == Journal::State::deleting) {
        Merger merger(dir_fd, stage_fd, journal.whiteouts, journal.userxattr);
        merger.delete_all(read_deletions(stage_fd));
        sync_file_system(dir_fd);
        crash_point("unpack.deleted");
        journal.state = Journal::State::moving; // S2: from here on they are not repeated
        write_journal(dir_fd, stage_fd, journal);
    }
    if (journal.state == Journal::State::moving) {
        Merger merger(dir_fd, stage_fd, journal.whiteouts, journal.userxattr);
        merger.move_all();
        merger.fix_all(read_fixups(stage_fd), losses);
        crash_point("unpack.fixed");
        sync_file_system(dir_fd);
        journal.state = Journal::State::moved;
        write_journal(dir_fd, stage_fd, journal);
        crash_point("unpack.moved");
    }
    remove_tree(dir_fd, kInsideStage);
    if (::fsync(dir_fd) != 0)
        throw sys_error("fsync the directory").with_kind(ErrorKind::io);
    crash_point("unpack.cleaned");
    if (::unlinkat(dir_fd, kJournalName, 0) != 0 && errno != ENOENT)
        throw sys_error(std::string("remove ") + kJournalName).with_kind(ErrorKind::io);
    if (journal.mtime)
        set_mtime(dir_fd, journal);
    if (::fsync(dir_fd) != 0)
        throw sys_error("fsync the directory").with_kind(ErrorKind::io);
}

class InsideStage final : public Stage {
public:
    InsideStage(UniqueFd dir_fd, UniqueFd stage_fd, const StageOptions& options, Losses& losses)
        : dir_fd_(std::move(dir_fd)), stage_fd_(std::move(stage_fd)), options_(options),
          losses_(losses) {
        clear_dir(stage_fd_.get());
        neutralise_dir(stage_fd_.get());
        if (::mkdirat(stage_fd_.get(), "tree", 0700) != 0)
            throw sys_error("make the stage").with_kind(ErrorKind::io);
        tree_ = UniqueFd(::openat(stage_fd_.get(), "tree", kDirFlags));
        if (!tree_)
            throw sys_error("open the stage").with_kind(ErrorKind::io);
        neutralise_dir(tree_.get());
    }
    ~InsideStage() override {
        if (decided_)
            return;
        try {
            tree_.reset();
            remove_tree(dir_fd_.get(), kInsideStage);
        } catch (const std::exception&) {
            // The next run clears it.
        }
    }
    int root() const override { return tree_.get(); }
    void add_deletion(const Deletion& deletion) override {
        if (options_.merge)
            deletions_.push_back(deletion);
    }
    void publish(const std::string& digest, const std::set<std::string>& implicit) override;

private:
    UniqueFd dir_fd_, stage_fd_, tree_;
    StageOptions options_;
    Losses& losses_;
    std::vector<Deletion> deletions_;
    bool decided_ = false;
};

void InsideStage::publish(const std::string& digest, const std::set<std::string>& implicit) {
    crash_point("unpack.filled");
    Journal journal;
    journal.digest = digest;
    journal.whiteouts = options_.whiteouts;
    journal.userxattr = options_.userxattr;
    journal.state = deletions_.empty() ? Journal::State::moving : Journal::State::deleting;
    struct stat st{};
    const int root = implicit.contains(std::string()) ? dir_fd_.get() : tree_.get();
    if (::fstat(root, &st) == 0) {
        journal.mtime = st.st_mtim.tv_sec;
        journal.mtime_ns = static_cast<std::uint32_t>(st.st_mtim.tv_nsec);
    }
    Merger merger(dir_fd_.get(), stage_fd_.get(), options_.whiteouts, options_.userxattr);
    write_fixups(stage_fd_.get(), merger.plan(deletions_, implicit));
    write_deletions(stage_fd_.get(), deletions_);
    sync_file_system(stage_fd_.get());
    crash_point("unpack.staged");
    decided_ = true;
    try {
        write_journal(dir_fd_.get(), stage_fd_.get(), journal);
    } catch (...) {
        // Half-way: a journal that is there decides.
        decided_ = look_at(dir_fd_.get(), kJournalName).has_value();
        throw;
    }
    crash_point("unpack.journal");
    roll_forward(dir_fd_.get(), stage_fd_.get(), journal, losses_);
}

} // namespace

std::unique_ptr<Stage> make_inside_stage(StageTarget& target, const StageOptions& options, Log&,
                                         Losses& losses) {
    UniqueFd stage = lock_stage(target.dir_fd.get(), target.dir);
    return std::make_unique<InsideStage>(std::move(target.dir_fd), std::move(stage), options,
                                         losses);
}

void finish_inside(int dir_fd, const Journal& journal, Log&, Losses& losses) {
    const UniqueFd stage = lock_stage(dir_fd, "DIR");
    // Its own run may have finished it before we had the lock.
    const auto now = read_journal(dir_fd);
    if (!now)
        return remove_tree(dir_fd, kInsideStage);
    if (now->state != Journal::State::moved && !open_dir_beneath(stage.get(), "tree"))
        throw Error(ErrorKind::data,
                    "the unpacking of sha256:" + journal.digest +
                        " was interrupted and cannot be finished: its stage is gone",
                    "empty the directory, " + std::string(kJournalName) +
                        " included, and unpack again");
    roll_forward(dir_fd, stage.get(), *now, losses);
}

} // namespace zl
