/// A command that we stand before, as an init process would: `zl-walship DB -- CMD ARG...`.
#pragma once

#include "base/file.hpp"

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

/// The command has our stdin, stdout, stderr, environment and signal mask, and a process group of
/// its own; if we are the foreground of a terminal, it becomes that. Orphans of it are ours to reap
/// (PR_SET_CHILD_SUBREAPER unless we are process 1).
///
/// on_signal() is called by whoever receives our signals (Signals::hand_over with signals()), the
/// rest by one other thread.
class Supervisor {
public:
    /// @p on_end: called once, on the thread of on_signal(), when the command has ended.
    Supervisor(std::vector<std::string> argv, std::function<void()> on_end);
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;
    /// A command that still runs is left alone: a failure of ours is no reason to end it.
    ~Supervisor() = default;

    /// Every signal that can be passed on, and SIGCHLD.
    static std::vector<int> signals();

    /// Throws not_found or denied when the command cannot be run.
    void start();
    bool started() const;
    /// SIGCHLD: reap. Any other: pass it on, if the command runs; before, it is lost.
    void on_signal(int signal);
    /// Exit code, or 128+n when signal n ended it; nullopt: it runs, or was never started.
    std::optional<int> exit_code() const;
    /// Blocks until it has ended; after start().
    int wait() const;

private:
    void reap();
    void stopped(int signal);
    void give_terminal();
    void take_terminal();

    std::vector<std::string> argv_;
    std::function<void()> on_end_;
    mutable std::mutex mutex_;
    mutable std::condition_variable ended_;
    pid_t pid_ = -1;
    std::optional<int> exit_code_;
    UniqueFd terminal_; ///< only if it is ours to hand over
};

} // namespace zl
