/// What ship() does, as an object: its parts are in ship_daemon.cpp, with a command in
/// ship_command.cpp, answers to other processes in ship_requests.cpp. Internal to those.
///
/// Threads: run() on one; on_signal() on that of the signals, or of whoever requests a stop;
/// answer() on many at once (control.hpp).
#pragma once

#include "base/error.hpp"
#include "base/json.hpp"
#include "control.hpp"
#include "notify.hpp"
#include "ship_daemon.hpp"

#include <functional>

namespace zl {

class ShipDaemon {
public:
    ShipDaemon(ToolContext& context, const ShipJob& job)
        : context_(context), job_(job), board_(offline_status(job)),
          notifier_(process_environment) {}

    int run();

private:
    int run_locked();
    int work();
    int with_command();
    int drained(bool all) const;
    Error unfinished() const;
    void restore();
    bool wait_for_database(const std::stop_token& stop);
    bool attach(const std::stop_token& stop, bool settling);
    bool replicate();
    bool ship_beside_command(bool attached);
    void on_signal(int signal);
    void abandon();
    void limit_drain(const std::stop_token& over);
    Json answer(const Json& request, const std::function<bool()>& gone);
    Json flush(Millis timeout, const std::function<bool()>& gone);

    ToolContext& context_;
    const ShipJob& job_;
    StatusBoard board_;
    Notifier notifier_;
    std::stop_source quit_;  ///< a signal asked us to end
    std::stop_source drain_; ///< nothing new will come: send the rest
    std::stop_source hard_;  ///< break off what is under way in the store
    std::unique_ptr<ObjectStore> store_;
    std::unique_ptr<Supervisor> child_;
    Pulse* pulse_ = nullptr;
    std::atomic<int> stops_{0}, signal_{0};
    std::chrono::steady_clock::time_point first_stop_{}; ///< of on_signal() only
    std::atomic<bool> abandoned_{false}, timed_out_{false};
    std::string warned_;
};

} // namespace zl
