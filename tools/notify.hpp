/// What a service manager is told: sd_notify(3) in a few lines, without its library.
#pragma once

#include "base/file.hpp"
#include "base/units.hpp"
#include "store/open_store.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace zl {

/// Silent without NOTIFY_SOCKET, and when nobody listens there: no service fails for want of a
/// manager. send() may be called from any thread.
class Notifier {
public:
    explicit Notifier(const Environment& environment);

    bool active() const { return socket_.get() >= 0; }
    /// @p assignments `READY=1\nSTATUS=...`; one datagram.
    void send(std::string_view assignments) const;
    /// Half of WATCHDOG_USEC: how often WATCHDOG=1 has to be sent. nullopt: not asked of us (of
    /// another process by WATCHDOG_PID, or not at all).
    std::optional<Millis> watchdog() const { return watchdog_; }

private:
    UniqueFd socket_;
    std::string address_; ///< path, or NUL and a name
    std::optional<Millis> watchdog_;
};

} // namespace zl
