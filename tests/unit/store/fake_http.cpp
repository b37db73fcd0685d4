#include "fake_http.hpp"

#include "store/uri.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <stdexcept>

namespace zl {

std::string FakeHttp::Request::header(const std::string& name) const {
    auto it = headers.find(name);
    return it == headers.end() ? "" : it->second;
}

std::string FakeHttp::Request::credential() const {
    std::string text = header("authorization");
    std::size_t at = text.find("Credential=");
    return at == std::string::npos ? "" : text.substr(at + 11, text.find(',', at) - at - 11);
}

void FakeHttp::Reply::send(int status, const std::string& body, const HeaderList& headers) {
    std::string head = "HTTP/1.1 " + std::to_string(status) + " X\r\n";
    bool has_length = false;
    for (const auto& [name, value] : headers) {
        head += name + ": " + value + "\r\n";
        has_length = has_length || ascii_lower(name) == "content-length";
    }
    if (!has_length)
        head += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    raw(head + "\r\n" + (head_ ? "" : body));
}

bool FakeHttp::Reply::raw(std::string_view bytes) {
    while (open_ && !bytes.empty()) {
        ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) {
            open_ = false;
            return false;
        }
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return open_;
}

void FakeHttp::Reply::reset() {
    linger abort_at_close{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &abort_at_close, sizeof abort_at_close);
    open_ = false;
}

void FakeHttp::Reply::close() {
    open_ = false;
}

void FakeHttp::Reply::hang() const {
    while (!stopping_)
        sleep(10);
}

void FakeHttp::Reply::sleep(int milliseconds) const {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

FakeHttp::FakeHttp(Handler handler)
    : handler_(std::move(handler)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), generic, size) != 0 || ::listen(listener_.get(), 64) != 0 ||
        ::getsockname(listener_.get(), generic, &size) != 0)
        throw std::runtime_error("fake server: no port");
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] {
        for (int connection = 1;; ++connection) {
            int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0 || stopping_) {
                if (fd >= 0)
                    ::close(fd);
                return;
            }
            std::lock_guard lock(mutex_);
            sockets_.push_back(fd);
            threads_.emplace_back([this, fd, connection] { serve(fd, connection); });
        }
    });
}

FakeHttp::~FakeHttp() {
    stopping_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    {
        std::lock_guard lock(mutex_);
        for (int fd : sockets_)
            ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_)
        thread.join();
}

std::vector<FakeHttp::Request> FakeHttp::requests() const {
    std::lock_guard lock(mutex_);
    return requests_;
}

void FakeHttp::serve(int fd, int connection) {
    std::string buffer;
    for (;;) {
        Request request;
        request.connection = connection;
        if (!read_request(fd, buffer, request))
            break;
        {
            std::lock_guard lock(mutex_);
            request.number = static_cast<int>(requests_.size()) + 1;
            requests_.push_back(request);
        }
        Reply reply(fd, stopping_, request.method == "HEAD");
        handler_(request, reply);
        if (!reply.open())
            break;
    }
    std::lock_guard lock(mutex_);
    sockets_.erase(std::find(sockets_.begin(), sockets_.end(), fd));
    ::close(fd);
}

bool FakeHttp::read_request(int fd, std::string& buffer, Request& request) {
    auto fill = [&] {
        char chunk[65536];
        ssize_t got = ::recv(fd, chunk, sizeof chunk, 0);
        if (got > 0)
            buffer.append(chunk, static_cast<std::size_t>(got));
        return got > 0;
    };
    std::size_t end;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos)
        if (!fill())
            return false;
    std::string head = buffer.substr(0, end + 2);
    buffer.erase(0, end + 4);
    std::size_t line_end = head.find("\r\n");
    std::string first = head.substr(0, line_end);
    request.method = first.substr(0, first.find(' '));
    request.target = first.substr(first.find(' ') + 1);
    request.target.resize(request.target.rfind(' '));
    for (std::size_t at = line_end + 2; at < head.size();) {
        std::size_t stop = head.find("\r\n", at);
        std::string line = head.substr(at, stop - at);
        std::size_t colon = line.find(':');
        request.headers[ascii_lower(line.substr(0, colon))] =
            std::string(trim(line.substr(colon + 1)));
        at = stop + 2;
    }
    std::size_t length =
        request.has("content-length") ? std::stoul(request.header("content-length")) : 0;
    while (buffer.size() < length)
        if (!fill())
            return false;
    request.body = buffer.substr(0, length);
    buffer.erase(0, length);
    return true;
}

std::string error_xml(const std::string& code, const std::string& more) {
    return "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code>" + more + "</Error>";
}

std::string http_date(std::chrono::seconds offset) {
    std::time_t now = std::time(nullptr) + static_cast<std::time_t>(offset.count());
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[64];
    std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    return text;
}

} // namespace zl
