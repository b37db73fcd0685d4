/// What others are told of a shipper while it works: --status, metrics, the service manager.
#pragma once

#include "notify.hpp"
#include "tool.hpp"
#include "wal/replicator.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace zl {

/// The status from the first moment on, also before there is a replicator. Thread-safe.
class StatusBoard {
public:
    /// @p base: what the last run left behind, with database, name and store.
    explicit StatusBoard(ShipStatus base);

    /// Before attach(): starting, waiting, restoring, blocked; @p error why.
    void set_state(std::string state, std::string error = {});
    void attach(std::shared_ptr<Replicator> replicator);
    /// Let go of it; the status stays as it was.
    void detach();
    /// Shipping failed for good. What is committed from now on is not seen: the lag only grows.
    void fail(const Error& error);
    std::optional<Error> failure() const;
    /// nullptr: none was attached.
    std::shared_ptr<Replicator> replicator() const;
    ShipStatus status() const;

private:
    mutable std::mutex mutex_;
    ShipStatus base_;
    std::shared_ptr<Replicator> replicator_;
    std::optional<Error> failure_;
    TimePoint failed_at_{};
};

/// `app: streaming, sequence 12 durable, 2 segments (1.0 KiB) pending, lag 1.2s`
std::string summary(const ShipStatus& status);
/// zl_walship_*.
void set_metrics(Metrics& metrics, const ShipStatus& status);

/// Once a second looks at the board and passes it on: STATUS= when it changed, WATCHDOG=1 (a status
/// that cannot be had is a replicator that hangs), metrics every ten seconds. Until ready() it asks
/// the service manager for more time: a restore may take long.
class Pulse {
public:
    Pulse(ToolContext& context, const StatusBoard& board, const Notifier& notifier);
    /// Sets the metrics as they are at the end; run_tool writes them.
    ~Pulse();
    void ready();

private:
    void run(const std::stop_token& stop);

    ToolContext& context_;
    const StatusBoard& board_;
    const Notifier& notifier_;
    std::mutex mutex_;
    std::condition_variable_any wake_;
    bool ready_ = false;
    std::jthread thread_;
};

} // namespace zl
