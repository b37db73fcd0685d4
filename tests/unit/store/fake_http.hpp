/// FAKE: a scripted HTTP/1.1 server on loopback. It stands in for servers that misbehave on purpose
/// and for AWS's metadata and token services. It is no S3 and proves nothing about a real one
/// (test_conformance.cpp does that).
#pragma once

#include "base/file.hpp"
#include "store/sigv4.hpp"

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace zl {

class FakeHttp {
public:
    struct Request {
        std::string method;
        std::string target;                         ///< as sent: path?query
        std::map<std::string, std::string> headers; ///< lower-case names
        std::string body;
        int connection = 0; ///< 1 = the first that was accepted
        int number = 0;     ///< 1 = the first request of all

        std::string header(const std::string& name) const;
        bool has(const std::string& name) const { return headers.contains(name); }
        /// Of Authorization's Credential: `KEY/DATE/REGION/SERVICE/aws4_request`.
        std::string credential() const;
    };

    class Reply {
    public:
        Reply(int fd, const std::atomic<bool>& stopping, bool head)
            : fd_(fd), stopping_(stopping), head_(head) {}
        /// Whole reply with Content-Length. Empty-named headers are skipped.
        void send(int status, const std::string& body = {}, const HeaderList& headers = {});
        /// Bytes as they are; false once the peer has gone.
        bool raw(std::string_view bytes);
        void reset(); ///< RST
        void close();
        void hang() const; ///< until the server stops
        void sleep(int milliseconds) const;
        bool open() const { return open_; }

    private:
        int fd_;
        const std::atomic<bool>& stopping_;
        bool head_;
        bool open_ = true;
    };

    using Handler = std::function<void(const Request&, Reply&)>;
    explicit FakeHttp(Handler handler);
    ~FakeHttp();

    int port() const { return port_; }
    std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
    std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }
    std::vector<Request> requests() const;
    std::size_t count() const { return requests().size(); }

private:
    void serve(int fd, int connection);
    bool read_request(int fd, std::string& buffer, Request& request);

    Handler handler_;
    UniqueFd listener_;
    int port_ = 0;
    std::atomic<bool> stopping_{false};
    mutable std::mutex mutex_;
    std::vector<Request> requests_;
    std::vector<int> sockets_;
    std::list<std::thread> threads_;
    std::thread acceptor_;
};

/// `<Error><Code>code</Code>more</Error>`.
std::string error_xml(const std::string& code, const std::string& more = {});
/// Value of `Date:` now plus @p offset.
std::string http_date(std::chrono::seconds offset = std::chrono::seconds(0));

} // namespace zl
