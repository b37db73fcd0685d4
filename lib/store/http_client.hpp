/// HTTP/1.1 over libcurl: one loop thread moves all transfers, any number of threads call the
/// blocking perform(). With http_transfer the only place that knows libcurl.
///
/// Bytes go straight: no redirect is followed, nothing is decompressed, the path is sent as given.
/// Proxies come from the environment as libcurl reads it. TLS is always verified.
#pragma once

#include "base/units.hpp"
#include "store/object_store.hpp"
#include "store/sigv4.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

namespace zl {

/// How a transfer ended below HTTP.
enum class Transport {
    ok,
    resolve,   ///< host name not found (or not now)
    connect,   ///< no connection: nothing was sent
    untrusted, ///< certificate or CA file refused: retrying cannot help
    stalled,   ///< too slow for too long
    broken,    ///< reset, closed early, fewer bytes than announced
    bad_reply, ///< not HTTP, or larger than allowed
    bad_url,
    deadline, ///< HttpClient::Options::deadline passed
};

struct HttpResponse {
    Transport transport = Transport::ok;
    std::string transport_error;                ///< libcurl's words
    int status = 0;                             ///< 0 = no status line was seen
    std::map<std::string, std::string> headers; ///< lower-case names, last one wins
    std::string body;                           ///< unless a sink took it
    Millis duration{0};

    /// nullptr = not sent by the server.
    const std::string* header(const std::string& name) const;
};

struct HttpRequest {
    std::string method = "GET";
    std::string url;    ///< encoded, sent as it stands
    HeaderList headers; ///< all of them but Content-Length
    const Body* body = nullptr;
    /// Called on the calling thread once status and headers are there; returns where the body goes,
    /// nullptr = HttpResponse::body. The sink is written to on the calling thread too: while it is
    /// slow, only this transfer pauses. A Sink that is prompt() may be written to by the loop
    /// thread instead.
    std::function<Sink*(const HttpResponse&)> choose_sink;
    /// Bytes handed to the connection since the last call (negative: the body starts again); on the
    /// calling thread.
    std::function<void(std::int64_t)> on_sent;
    std::size_t max_body = 64u << 20; ///< of HttpResponse::body
    Millis stall_time{std::chrono::seconds(30)};
    Millis connect_timeout{0};     ///< 0 = the client's
    bool fresh_connection = false; ///< never resend by itself on a pooled connection that died
    bool bypass_proxy = false;     ///< for link-local addresses
};

class HttpClient {
public:
    struct Options {
        Millis connect_timeout{std::chrono::seconds(10)};
        std::uint64_t bwlimit = 0; ///< bytes per second of all transfers together, 0 = unlimited
        int connections = 16;
        std::string ca_file; ///< empty = the system's
        std::optional<std::chrono::steady_clock::time_point> deadline;
        std::stop_token stop;
    };
    explicit HttpClient(Options options);
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;
    /// No perform() may be under way.
    ~HttpClient();

    /// One request, no retry (but libcurl's own on a pooled connection that was closed meanwhile).
    /// Whatever the server or the network did is in the response. Throws Interrupted within 100 ms
    /// of the stop request, and what body, sink or callbacks throw.
    HttpResponse perform(const HttpRequest& request);

private:
    class Loop;
    std::unique_ptr<Loop> loop_;
};

} // namespace zl
