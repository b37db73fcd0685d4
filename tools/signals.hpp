/// Signals and the run's time limit, turned into a stop token.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace zl {

/// A write to a pipe without reader shall fail with EPIPE instead of killing us. A handler, not
/// SIG_IGN: a program that we start then has the default again.
void survive_sigpipe();

/// While it lives: SIGINT, SIGTERM and SIGHUP request a stop, a second one ends the process at once
/// with 128+n; SIGUSR1 calls back. Signals that were ignored when we started (nohup, `&` in a
/// script) stay ignored. At most one instance. Programs started meanwhile have the default
/// handlers.
class Signals {
public:
    /// @p on_report runs on this object's thread. @p limit: request a stop after that; 0 = never.
    Signals(std::function<void()> on_report, Millis limit);
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;

    /// From now on each of @p signals is given to @p on_signal, on this object's thread, and none
    /// of them stops or ends the process: for a daemon that drains, and for one that stands before
    /// another program. Those that were ignored when we started stay ignored, but SIGCHLD. Returns
    /// the signal that had asked for a stop before; 0 = none: it counts as not come (caught()).
    int hand_over(const std::vector<int>& signals, std::function<void(int)> on_signal);
    /// When it returns, on_signal is not running and is not called again; what was handed over has
    /// no effect any more.
    void take_back();

    std::stop_token token() const { return stop_.get_token(); }
    /// The signal that asked for the stop; 0 = none.
    int caught() const { return caught_; }
    /// Whether there is one, now or within @p patience.
    bool caught_within(Millis patience) const;
    bool timed_out() const { return timed_out_; }

private:
    void run(const std::stop_token& quit);
    void deliver(int signal);

    std::function<void()> on_report_;
    Millis limit_;
    std::mutex mutex_; ///< over the two below, and while on_signal_ runs
    std::function<void(int)> on_signal_;
    std::vector<int> handed_over_;
    std::stop_source stop_;
    std::atomic<int> caught_{0};
    std::atomic<bool> timed_out_{false};
    int wake_ = -1;
    std::jthread thread_;
};

/// Whether Ctrl-C at our terminal would have reached us. A shell stops its loop only when the
/// command was ended by SIGINT; an exit code of 130 alone would let it go on.
bool in_foreground_of_terminal();

/// End by @p signal itself, after whatever clean-up is done. As PID 1, where the default effect of
/// a signal is nothing, exits with 128+n.
[[noreturn]] void end_by_signal(int signal);

} // namespace zl
