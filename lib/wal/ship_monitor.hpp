/// What the threads of a shipper tell each other and the outside: status, events, the first
/// failure. Thread-safe.
#pragma once

#include "wal/ship_status.hpp"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>

namespace zl {

class ShipMonitor {
public:
    ShipStatus get() const {
        std::lock_guard lock(mutex_);
        return status_;
    }
    void update(const std::function<void(ShipStatus&)>& change) {
        std::lock_guard lock(mutex_);
        change(status_);
    }
    /// Something happened that a wait() may be waiting for.
    void notify() {
        std::lock_guard lock(mutex_);
        changed_.notify_all();
    }
    /// Until @p done (called under the lock) or the deadline; returns what done says.
    bool wait_until(std::chrono::steady_clock::time_point deadline,
                    const std::function<bool()>& done) {
        std::unique_lock lock(mutex_);
        return changed_.wait_until(lock, deadline, done);
    }
    /// Shipping cannot go on (fenced, denied, ...). Only the first counts.
    void fail(std::exception_ptr why) {
        std::lock_guard lock(mutex_);
        if (!failure_)
            failure_ = why;
        changed_.notify_all();
    }
    std::exception_ptr failure() const {
        std::lock_guard lock(mutex_);
        return failure_;
    }

private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    ShipStatus status_;
    std::exception_ptr failure_;
};

} // namespace zl
