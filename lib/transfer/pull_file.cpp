/// zl-pull -o FILE: a download that survives its process.
///
///   .NAME.zl-part          the bytes, each range at its place; locked while a run works on it
///   .NAME.zl-part.ranges   first line: what is being fetched; then the number of each range that
///   is
///                          on disk, one a line, written after the range was synced
/// kill -9 at any point: a range without its line is fetched again; a torn last line is ignored; a
/// first line that is torn or names another object starts over. Nothing is believed at the end: the
/// whole file is verified before it gets its name.
#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/parallel.hpp"
#include "transfer/puller.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <sstream>

namespace zl {

namespace {

class PartialFile {
public:
    PartialFile(const std::string& path, const std::string& wanted, std::uint64_t ranges)
        : part_(dir_name(path) + "/." + path.substr(path.rfind('/') + 1) + ".zl-part"),
          journal_(part_ + ".ranges"), wanted_(wanted), done_(ranges) {
        try {
            lock_ = FileLock::try_lock(part_, 0666); // it becomes FILE
        } catch (Error& e) {
            throw e.with_kind(ErrorKind::exists); // 73: cannot be created
        }
        if (!lock_)
            throw Error(ErrorKind::transient, part_ + ": another zl-pull writes it",
                        "wait for it, or pull to another file");
        read_journal();
    }

    bool done(std::size_t range) const { return done_[range]; }
    std::uint64_t count_done() const {
        return static_cast<std::uint64_t>(std::count(done_.begin(), done_.end(), true));
    }
    int fd() const { return lock_->fd(); }
    const std::string& part() const { return part_; }

    void write(std::uint64_t offset, Bytes data) { pwrite_full(fd(), data, offset, part_); }
    void record(std::size_t range) {
        sync(fd(), part_);
        std::lock_guard lock(mutex_);
        write_full(list_.get(), as_bytes(std::to_string(range) + "\n"), journal_);
        sync(list_.get(), journal_);
        done_[range] = true;
        crash_point("pull.range");
    }
    void start_over() {
        if (::ftruncate(fd(), 0) != 0)
            throw sys_error("truncate " + part_).with_kind(ErrorKind::io);
        list_ = open_file(journal_, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
        write_full(list_.get(), as_bytes(wanted_ + "\n"), journal_);
        sync(list_.get(), journal_);
        std::fill(done_.begin(), done_.end(), false);
    }
    void publish(const std::string& path) {
        sync(fd(), part_);
        if (::rename(part_.c_str(), path.c_str()) != 0)
            throw sys_error("rename " + part_ + " to " + path).with_kind(ErrorKind::exists);
        ::unlink(journal_.c_str());
        fsync_dir(dir_name(path));
    }
    void discard() {
        ::unlink(journal_.c_str());
        ::unlink(part_.c_str());
    }

private:
    static void sync(int fd, const std::string& name) {
        if (::fdatasync(fd) != 0)
            throw sys_error("sync " + name).with_kind(ErrorKind::io);
    }
    void read_journal() {
        std::string text = read_file(journal_, SIZE_MAX).value_or("");
        std::string line;
        std::istringstream in(text.substr(0, text.rfind('\n') + 1)); // without a torn last line
        if (!std::getline(in, line) || line != wanted_)
            return start_over();
        while (std::getline(in, line))
            if (line.size() < 10 && !line.empty() &&
                line.find_first_not_of("0123456789") == std::string::npos &&
                std::stoul(line) < done_.size())
                done_[std::stoul(line)] = true;
        list_ = open_file(journal_, O_WRONLY | O_APPEND);
        // A torn line must not grow together with the next number.
        if (::ftruncate(list_.get(), static_cast<off_t>(text.rfind('\n') + 1)) != 0)
            throw sys_error("truncate " + journal_).with_kind(ErrorKind::io);
    }

    std::string part_, journal_, wanted_;
    /// Its file is the one written to: one opened beside it could be another run's, by now
    /// published as FILE.
    std::optional<FileLock> lock_;
    UniqueFd list_;
    std::vector<bool> done_;
    std::mutex mutex_;
};

} // namespace

PullOutcome Puller::pull_to_file(const PullTarget& target, const std::string& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode))
        throw Error(ErrorKind::exists, path + ": exists and is no regular file");
    const ObjectInfo& o = target.object;
    const std::uint64_t range = options_.part_size;
    const std::uint64_t count = (o.size + range - 1) / range;
    Json wanted;
    wanted["store"] = store_.identity();
    wanted["key"] = o.key;
    wanted["etag"] = o.etag;
    wanted["size"] = o.size;
    wanted["range"] = range;
    PartialFile file(path, dump_json(wanted), count);

    auto fetch_missing = [&] {
        progress_.begin("fetching", o.size);
        progress_.advance(static_cast<std::int64_t>(std::min(o.size, file.count_done() * range)));
        if (file.count_done())
            log_.info("continuing " + file.part() + ": " + std::to_string(file.count_done()) +
                      " of " + std::to_string(count) + " ranges are there");
        parallel_for(static_cast<std::size_t>(count), options_.jobs, [&](std::size_t i) {
            if (file.done(i))
                return;
            if (stop_.stop_requested())
                throw Interrupted();
            std::uint64_t at = i * range;
            FunctionSink sink([&](Bytes b) {
                file.write(at, b);
                at += b.size();
                progress_.advance(static_cast<std::int64_t>(b.size()));
            });
            GetOptions get;
            get.range = ByteRange{at, std::min(range, o.size - at)};
            get.if_match = o.etag;
            if (!store_.get(o.key, sink, get))
                throw Error(ErrorKind::conflict, store_.describe(o.key) + ": vanished meanwhile");
            file.record(i);
        });
    };
    auto verify = [&] {
        if (::lseek(file.fd(), 0, SEEK_SET) != 0)
            throw sys_error("seek in " + file.part()).with_kind(ErrorKind::io);
        FdSource in(file.fd(), file.part(), stop_);
        return verify_layer(in, target.proof(), target.what.digest);
    };

    for (bool again : {false, true}) {
        fetch_missing();
        try {
            bool incomplete = verify();
            file.publish(path);
            return {target.what.digest, o.size, incomplete};
        } catch (Error& e) {
            if (e.kind() != ErrorKind::data)
                throw;
            if (again) {
                file.discard();
                throw e.add_context(store_.describe(o.key)).with_hint(kDamaged);
            }
            log_.warn(file.part() + ": " + e.what() + "; fetching it once more from zero");
            file.start_over();
        }
    }
    throw Error(ErrorKind::internal, "unreachable");
}

} // namespace zl
