#include "ship_daemon_impl.hpp"

#include <signal.h>

namespace zl {

namespace {

bool ends_us(int signal) {
    return signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT;
}

} // namespace

int ShipDaemon::with_command() {
    const bool there = database_there(job_.replicator.database);
    if (there && !attach(quit_.get_token(), false))
        return 128 + signal_;
    if (quit_.stop_requested())
        return 128 + signal_;
    try {
        child_->start();
    } catch (const Error& e) {
        // As env(1), timeout(1) and the shells have it.
        context_.log().write(LogLevel::error, e.message());
        return e.kind() == ErrorKind::not_found ? 127 : 126;
    }
    if (quit_.stop_requested())
        child_->on_signal(signal_); // it came while the command did not yet hear
    pulse_->ready();

    bool all = false;
    std::optional<Error> failure;
    try {
        all = ship_beside_command(there);
    } catch (const Error& e) {
        failure = e;
        board_.fail(e);
        context_.log().write(LogLevel::error, "shipping has ended: " + e.message());
        if (!child_->exit_code())
            context_.log().warn(job_.stop_on_failure
                                    ? "ending " + job_.command[0]
                                    : job_.command[0] + " runs on, and is not replicated");
        if (job_.stop_on_failure)
            child_->on_signal(SIGTERM);
    }
    const int code = child_->wait();
    if (failure && (code == 0 || job_.stop_on_failure))
        throw *failure;
    if (!failure && !all && code == 0)
        throw unfinished();
    if (!failure && !all)
        context_.log().warn(unfinished().message());
    return code;
}

/// Returns whether all is in the store.
bool ShipDaemon::ship_beside_command(bool attached) {
    if (!attached && !wait_for_database(drain_.get_token()))
        return true; // the command has ended and there never was a database
    if (!attached && !attach(drain_.get_token(), true))
        return false;
    return replicate();
}

namespace {
/// Signals within this time count as one.
constexpr std::chrono::milliseconds kOneSignal{200};
} // namespace

void ShipDaemon::on_signal(int signal) {
    const bool running = child_ && child_->started() && !child_->exit_code();
    const bool before_command = child_ && !child_->started();
    if (child_ && (running || signal == SIGCHLD))
        child_->on_signal(signal);
    else if (signal == SIGUSR1) {
        const ShipStatus status = board_.status();
        context_.report_line("status", summary(status), to_json(status));
    }
    if (!ends_us(signal))
        return;
    signal_ = signal;
    // timeout(1) and some supervisors signal the process and then its group: that is one signal.
    const auto now = std::chrono::steady_clock::now();
    const bool again = stops_++ > 0 && now > first_stop_ + kOneSignal;
    if (stops_ == 1)
        first_stop_ = now;
    if (running)
        return;
    if (again)
        abandon();
    quit_.request_stop();
    if (!before_command)
        drain_.request_stop();
    else if (child_->started()) // since we looked
        child_->on_signal(signal);
}

} // namespace zl
