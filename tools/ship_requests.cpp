#include "ship_daemon_impl.hpp"

#include <algorithm>
#include <chrono>

namespace zl {

Json ShipDaemon::answer(const Json& request, const std::function<bool()>& gone) {
    const std::string command = json_string(request, "command", "request");
    if (command == "status")
        return to_json(board_.status());
    if (command == "flush")
        return flush(Millis(std::min<std::uint64_t>(json_uint(request, "timeout_ms", "request"),
                                                    std::uint64_t{1} << 40)),
                     gone);
    throw Error(ErrorKind::usage, "request: unknown command " + command);
}

/// In turns that double, so that a client that went away is noticed, and a flush that needs long
/// gets done all the same. @p timeout 0: no limit.
Json ShipDaemon::flush(Millis timeout, const std::function<bool()>& gone) {
    using Clock = std::chrono::steady_clock;
    if (const auto failure = board_.failure())
        throw *failure;
    const auto replicator = board_.replicator();
    if (!replicator) {
        const ShipStatus s = board_.status();
        throw Error(ErrorKind::transient, "nothing can be flushed yet, state is " + s.state +
                                              (s.last_error.empty() ? "" : ": " + s.last_error));
    }
    const auto end = Clock::now() + timeout;
    for (Millis turn{15'000};; turn *= 2) {
        const auto left = std::chrono::ceil<Millis>(end - Clock::now());
        const bool last = timeout > Millis(0) && left <= turn;
        const auto began = Clock::now();
        try {
            replicator->flush(last ? std::max(left, Millis(0)) : turn);
            break;
        } catch (const Error& e) {
            const bool ran_out = Clock::now() - began >= turn;
            if (e.kind() != ErrorKind::transient || last || !ran_out || gone())
                throw;
        }
    }
    const ShipStatus s = board_.status();
    Json j = Json::object();
    j["durable_sequence"] = s.durable_sequence;
    j["durable_time"] = s.durable_time ? Json(format_rfc3339(*s.durable_time)) : Json();
    return j;
}

} // namespace zl
