#include "ship_daemon.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/handle.hpp"
#include "ship_daemon_impl.hpp"
#include "wal/restorer.hpp"
#include "wal/segment_uploader.hpp"
#include "wal/ship_state.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace zl {

namespace {

/// How long the store may be retried within one request: the replicator goes on for ever by itself,
/// and wants to see soon that the store is away.
constexpr Millis kStorePatience{10'000};
constexpr int kStoreConnections = 6;
/// The replicator keeps the drain's time itself; what a request takes beyond that is broken off.
constexpr Millis kDrainGrace{500};

/// Sleeps; true: @p stop came.
bool stopped_within(Millis time, const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, time, [] { return false; });
    return stop.stop_requested();
}

FileLock lock_cache(const ReplicatorOptions& o) {
    try {
        make_dirs(o.cache_dir, 0700);
    } catch (Error& e) {
        throw e.with_kind(ErrorKind::exists)
            .add_context("cache directory")
            .with_hint("set --cache-dir to a directory on a disk that lasts");
    }
    const std::string path = o.cache_dir + "/lock";
    auto lock = FileLock::try_lock(path);
    if (!lock) {
        std::string pid = read_file(path, 100).value_or("");
        pid.resize(std::min(pid.find_first_not_of("0123456789"), pid.size()));
        throw Error(ErrorKind::transient,
                    "another zl-walship" + (pid.empty() ? "" : " (pid " + pid + ")") + " ships " +
                        o.database,
                    "--flush makes it send everything now, --status tells how far it is");
    }
    UniqueFd file = open_file(path, O_WRONLY | O_TRUNC);
    write_full(file.get(), as_bytes(std::to_string(::getpid()) + "\n"), path);
    return std::move(*lock);
}

/// Whether SQLite has made the file a database in WAL mode (or, with @p any_mode, a database at
/// all): bytes 18 and 19 of its header. Nothing else in this process may have it open: closing it
/// drops the locks of all of us (W4).
bool looks_ready(const std::string& database, bool any_mode) {
    UniqueFd file(::open(database.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<std::byte, 100> header{};
    if (!file || pread_full(file.get(), header, 0, database) != header.size())
        return false;
    return as_text(header).starts_with(std::string_view("SQLite format 3\0", 16)) &&
           (any_mode || (header[18] == std::byte{2} && header[19] == std::byte{2}));
}

Error absent(const ReplicatorOptions& o) {
    return Error(ErrorKind::not_found,
                 "there is no database " + o.database + " and no backup of " + o.name,
                 "--wait waits for it; -- CMD starts CMD, which makes it");
}

} // namespace

int ShipDaemon::run() {
    const std::string& cache = job_.replicator.cache_dir;
    const bool made = !path_exists(cache);
    FileLock lock = lock_cache(job_.replicator);
    try {
        return run_locked();
    } catch (const Error& e) {
        if (made && e.kind() == ErrorKind::not_found) { // a mistyped name shall leave nothing
            lock.remove_and_unlock();
            ::rmdir(cache.c_str());
        }
        throw;
    }
}

int ShipDaemon::run_locked() {
    Finally release([this] {
        board_.detach(); // while we have the lock: whoever has it next must be alone
        store_.reset();
    });
    Pulse pulse(context_, board_, notifier_);
    pulse_ = &pulse;
    std::optional<ControlServer> control;
    try {
        control.emplace(job_.replicator.cache_dir,
                        [this](const Json& r, const auto& gone) { return answer(r, gone); });
    } catch (const Error& e) {
        context_.log().warn(e.message() + ": --flush and --status will not reach this run");
    }
    restore();
    context_.end_progress();

    // Made before the signals come: on_signal() may run from then on.
    if (!job_.command.empty())
        child_ = std::make_unique<Supervisor>(job_.command, [this] { drain_.request_stop(); });
    const int before = context_.hand_over_signals(
        child_ ? Supervisor::signals() : std::vector<int>{SIGTERM, SIGINT, SIGHUP, SIGUSR1},
        [this](int signal) { on_signal(signal); });
    Finally back([this] { context_.take_back_signals(); });
    std::stop_callback asked(context_.stop(), [this, before] {
        timed_out_ = before == 0;
        on_signal(before != 0 ? before : SIGTERM);
    });
    std::stop_callback stopping(drain_.get_token(), [this] { notifier_.send("STOPPING=1"); });
    std::jthread limit([this](const std::stop_token& over) { limit_drain(over); });
    const int code = child_ ? with_command() : work();
    if (timed_out_)
        throw Interrupted(); // run_tool says that --timeout is over
    return code;
}

void ShipDaemon::restore() {
    const std::string& database = job_.replicator.database;
    if (!job_.auto_restore || database_there(database))
        return;
    board_.set_state("restoring");
    auto store = context_.open_store(kStoreConnections + 2);
    ship_leftovers(*store, job_.keys, job_.replicator.cache_dir, context_.log(), context_.stop());
    Restorer::Options options;
    options.command = "zl-restore -o " + database + " " + job_.replicator.name;
    Restorer restorer(*store, job_.keys, options, context_.log(), context_.progress(),
                      context_.stop());
    if (auto_restore(restorer, database, context_.log()) == AutoRestore::restored)
        context_.log().info("restored " + database + " from " + job_.replicator.name);
    board_.set_state("starting");
}

/// Without a command: our own end is the application's business, ours is to drain.
int ShipDaemon::work() {
    const std::string& database = job_.replicator.database;
    const bool there = database_there(database);
    if (!there && !job_.wait)
        throw absent(job_.replicator);
    if (!there) {
        pulse_->ready(); // it does what it is for: whoever makes the database may be waiting for us
        if (!wait_for_database(quit_.get_token()))
            return abandoned_ ? 128 + signal_ : kExitOk;
    }
    if (!attach(quit_.get_token(), !there)) {
        if (abandoned_)
            return 128 + signal_;
        throw unfinished();
    }
    pulse_->ready();
    return drained(replicate());
}

int ShipDaemon::drained(bool all) const {
    if (abandoned_)
        return 128 + signal_;
    if (!all)
        throw unfinished();
    return kExitOk;
}

Error ShipDaemon::unfinished() const {
    const ShipStatus s = board_.status();
    if (!board_.replicator())
        return Error(ErrorKind::transient, "nothing was sent: " + s.last_error);
    std::string left = std::to_string(s.pending_segments) + " segments (" +
                       format_size(s.pending_bytes) + ") are only in " + job_.replicator.cache_dir;
    if (s.wal_frames_pending > 0)
        left += ", " + std::to_string(s.wal_frames_pending) + " frames only in the WAL";
    const std::string time = format_duration(job_.replicator.drain_timeout);
    return Error(ErrorKind::transient,
                 "not all was sent" + (abandoned_ ? "" : " within " + time) + ": " + left,
                 "nothing is lost while that directory and the database are there: the next run "
                 "sends it");
}

bool ShipDaemon::wait_for_database(const std::stop_token& stop) {
    board_.set_state("waiting");
    const auto& o = job_.replicator;
    // A last look after the stop: it may have come in between.
    for (bool last = false;; last = stopped_within(std::min(o.sync_interval, Millis(250)), stop)) {
        if (looks_ready(o.database, o.enable_wal))
            return true;
        if (last)
            return false;
    }
}

/// Until the replicator is at work. @p settling: the database was only just made, so that it may
/// not be what it is going to be. false: @p stop came before.
bool ShipDaemon::attach(const std::stop_token& stop, bool settling) {
    if (!store_)
        store_ = context_.open_store(kStoreConnections, kStorePatience, hard_.get_token());
    Millis pause{100};
    for (;;) {
        try {
            auto replicator =
                std::make_shared<Replicator>(*store_, job_.keys, job_.replicator, context_.log());
            replicator->start();
            board_.attach(replicator);
            return true;
        } catch (const Error& e) {
            const bool new_one =
                settling && (e.kind() == ErrorKind::usage || e.kind() == ErrorKind::data ||
                             e.kind() == ErrorKind::not_found);
            if (e.kind() != ErrorKind::transient && !new_one)
                throw;
            board_.set_state(new_one ? "waiting" : "blocked", e.message());
            if (std::exchange(warned_, e.message()) != e.message())
                context_.log().warn(e.message() + ", trying again");
        }
        if (stopped_within(pause, stop))
            return false;
        pause = std::min(pause * 2, Millis(5000));
    }
}

bool ShipDaemon::replicate() {
    const auto replicator = board_.replicator();
    if (abandoned_)
        replicator->abandon(); // it came before there was one
    try {
        return replicator->run(child_ ? drain_.get_token() : quit_.get_token());
    } catch (const Interrupted&) {
        return false; // hard_: the time was over in the middle of a request
    }
}

void ShipDaemon::abandon() {
    abandoned_ = true;
    if (const auto replicator = board_.replicator())
        replicator->abandon();
    hard_.request_stop();
}

/// A request that hangs would carry the drain past its time.
void ShipDaemon::limit_drain(const std::stop_token& over) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::stop_callback began(drain_.get_token(), [&] {
        std::lock_guard lock(mutex);
        wake.notify_all();
    });
    std::unique_lock lock(mutex);
    if (wake.wait(lock, over, [&] { return drain_.stop_requested(); }) &&
        !wake.wait_for(lock, over, job_.replicator.drain_timeout + kDrainGrace,
                       [] { return false; }) &&
        !over.stop_requested())
        hard_.request_stop();
}

bool database_there(const std::string& database) {
    auto size = [](const std::string& path) -> std::optional<off_t> {
        struct stat status {};
        if (::stat(path.c_str(), &status) == 0)
            return status.st_size;
        if (errno == ENOENT)
            return std::nullopt;
        throw sys_error("look at " + path); // absent must be certain
    };
    const auto file = size(database);
    return file && (*file > 0 || size(database + "-wal").value_or(0) > 0);
}

ShipStatus offline_status(const ShipJob& job) {
    const auto& o = job.replicator;
    ShipStatus s = path_exists(o.cache_dir) ? stopped_status(o.cache_dir).value_or(ShipStatus{})
                                            : ShipStatus{};
    s.running = false;
    s.database = o.database;
    s.name = o.name;
    s.store = o.store_url;
    return s;
}

int ship(ToolContext& context, const ShipJob& job) {
    return ShipDaemon(context, job).run();
}

int ship_once(ToolContext& context, const ShipJob& job) {
    if (!database_there(job.replicator.database))
        throw Error(ErrorKind::not_found, "there is no database " + job.replicator.database,
                    "`zl-restore " + job.replicator.name +
                        " -o FILE` brings it back, if there is "
                        "a backup");
    const FileLock lock = lock_cache(job.replicator);
    auto store = context.open_store(kStoreConnections);
    Replicator replicator(*store, job.keys, job.replicator, context.log());
    Finally last([&] {
        ShipStatus status = replicator.status();
        status.running = false;
        set_metrics(context.metrics(), status);
    });
    replicator.start();
    replicator.once(context.stop());
    return kExitOk;
}

} // namespace zl
