/// The control socket of a daemon, `control` in its directory: one line of JSON asks, one answers.
///
///   {"command":"status"}                   -> {"result":{...}}
///   {"command":"flush","timeout_ms":5000}  -> {"result":{...}} or
///   {"error":...,"kind":...,"hint":...}
///
/// Whoever may enter the directory (mode 0700) and open the socket (0600) may ask.
#pragma once

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/report.hpp"
#include "base/units.hpp"

#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace zl {

inline constexpr std::size_t kMaxControlRequest = 64 << 10;

/// Answers requests from threads of its own, one per client, so that one that waits or never speaks
/// holds up nobody.
class ControlServer {
public:
    /// Called on many threads at once. Its result becomes `result`, an Error that it throws
    /// `error`.
    /// @p gone: whether the client hung up, for requests that take long.
    using Handler = std::function<Json(const Json& request, const std::function<bool()>& gone)>;

    struct Limits {
        std::size_t clients = 64; ///< at a time; one more is told to come again
        Millis request{5000};     ///< for the whole request to arrive, and for the reply to leave
    };

    /// The socket of an earlier server in @p directory is replaced: the caller holds the lock that
    /// says there is none. Throws io, denied: no socket can be made there.
    ControlServer(const std::string& directory, Handler handler, Limits limits);
    ControlServer(const std::string& directory, Handler handler)
        : ControlServer(directory, std::move(handler), Limits()) {}
    /// Waits for the handlers that run, then removes the socket.
    ~ControlServer();

private:
    struct Client {
        std::jthread thread;
        bool done = false; ///< under mutex_
    };
    void accept_clients();
    void reap_clients();
    void serve(const UniqueFd& client);
    Json answer(const std::string& line, const std::function<bool()>& gone) const;

    std::string path_;
    Handler handler_;
    Limits limits_;
    UniqueFd listener_, quit_; ///< quit_ becomes readable at the end
    std::mutex mutex_;
    std::list<Client> clients_;
    std::jthread acceptor_;
};

/// The answer of the server in @p directory; nullopt: there is none. Rethrows its error with its
/// kind; throws transient when it goes away or does not answer within @p limit (0: waits), and
/// Interrupted on @p stop.
std::optional<Json> ask_control(const std::string& directory, const Json& request, Millis limit,
                                const std::stop_token& stop);

} // namespace zl
