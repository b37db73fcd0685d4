#include "control.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace zl {

namespace {

using Clock = std::chrono::steady_clock;

struct KindName {
    ErrorKind kind;
    const char* name;
};
constexpr std::array<KindName, 13> kKinds{{{ErrorKind::usage, "usage"},
                                           {ErrorKind::data, "data"},
                                           {ErrorKind::not_found, "not_found"},
                                           {ErrorKind::internal, "internal"},
                                           {ErrorKind::exists, "exists"},
                                           {ErrorKind::io, "io"},
                                           {ErrorKind::transient, "transient"},
                                           {ErrorKind::conflict, "conflict"},
                                           {ErrorKind::gone, "gone"},
                                           {ErrorKind::unsupported, "unsupported"},
                                           {ErrorKind::fenced, "fenced"},
                                           {ErrorKind::denied, "denied"},
                                           {ErrorKind::config, "config"}}};

Json error_json(const Error& e) {
    Json j{{"error", e.message()}, {"kind", "internal"}};
    for (const KindName& known : kKinds)
        if (known.kind == e.kind())
            j["kind"] = known.name;
    if (!e.hint().empty())
        j["hint"] = e.hint();
    return j;
}

Error error_from(const Json& j) {
    ErrorKind kind = ErrorKind::internal;
    const std::string name = json_string(j, "kind", "answer of zl-walship");
    for (const KindName& known : kKinds)
        if (name == known.name)
            kind = known.kind;
    return Error(kind, json_string(j, "error", "answer of zl-walship"),
                 j.contains("hint") ? json_string(j, "hint", "answer of zl-walship") : "");
}

/// The address of `control` in a directory. sun_path holds 107 bytes: a longer path goes by way of
/// an open handle of the directory, which lives as long as this.
class Address {
public:
    Address(const std::string& directory, const std::string& path) {
        address_.sun_family = AF_UNIX;
        std::string name = path;
        if (name.size() >= sizeof address_.sun_path) {
            handle_ = open_file(directory, O_PATH | O_DIRECTORY);
            name = "/proc/self/fd/" + std::to_string(handle_.get()) + "/control";
        }
        std::memcpy(address_.sun_path, name.c_str(), name.size() + 1);
    }
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address_); }
    static constexpr socklen_t size() { return sizeof(sockaddr_un); }

private:
    UniqueFd handle_;
    sockaddr_un address_{};
};

UniqueFd make_socket(int flags) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    if (!fd)
        throw sys_error("make a socket");
    return fd;
}

int millis_until(Clock::time_point end) {
    const auto left = std::chrono::ceil<Millis>(end - Clock::now()).count();
    return static_cast<int>(std::clamp<long long>(left, 0, 3'600'000));
}

/// One end of a connection, with a time limit for all that is done over it. @p quit ends the
/// waiting when it becomes readable.
class Line {
public:
    Line(int fd, int quit, std::optional<Clock::time_point> end)
        : fd_(fd), quit_(quit), end_(end) {}

    /// Up to the first line feed. nullopt: end of file, time over, quit or too long.
    std::optional<std::string> read() {
        std::string text;
        std::array<char, 4096> buffer;
        while (text.size() <= kMaxControlRequest && ready(POLLIN)) {
            const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (n < 0 && (errno == EAGAIN || errno == EINTR))
                continue;
            if (n <= 0)
                return std::nullopt;
            text.append(buffer.data(), static_cast<std::size_t>(n));
            if (const auto end = text.find('\n'); end != std::string::npos)
                return text.substr(0, end);
        }
        return std::nullopt;
    }

    bool write(std::string_view text) {
        while (!text.empty() && ready(POLLOUT)) {
            const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                return false;
            text.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0);
        }
        return text.empty();
    }

private:
    bool ready(short what) const {
        for (;;) {
            std::array<pollfd, 2> p{{{fd_, what, 0}, {quit_, POLLIN, 0}}};
            const int n = ::poll(p.data(), p.size(), end_ ? millis_until(*end_) : -1);
            if (n < 0 && errno == EINTR)
                continue;
            return n > 0 && p[1].revents == 0;
        }
    }

    int fd_, quit_;
    std::optional<Clock::time_point> end_;
};

/// Nothing: nobody listens. A server that is too busy to accept is waited for until @p end.
UniqueFd connect_to(const std::string& directory, const std::string& path,
                    std::optional<Clock::time_point> end, const std::stop_token& stop) {
    const Address address(directory, path);
    UniqueFd fd = make_socket(SOCK_NONBLOCK);
    while (::connect(fd.get(), address.get(), Address::size()) != 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return {};
        if (errno != EAGAIN && errno != EINTR)
            throw sys_error("connect to " + path);
        if (stop.stop_requested())
            throw Interrupted();
        if (end && Clock::now() >= *end)
            throw Error(ErrorKind::transient, "zl-walship does not answer");
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return fd;
}

/// Hung up: a client that merely shut down its sending half has not.
bool has_hung_up(int fd) {
    pollfd p{fd, 0, 0};
    return ::poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

} // namespace

ControlServer::ControlServer(const std::string& directory, Handler handler, Limits limits)
    : path_(directory + "/control"), handler_(std::move(handler)), limits_(limits),
      listener_(make_socket(SOCK_NONBLOCK)), quit_(::eventfd(0, EFD_CLOEXEC)) {
    if (!quit_)
        throw sys_error("eventfd");
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT)
        throw sys_error("remove " + path_);
    const Address address(directory, path_);
    // Before bind(), which makes the file with it: it is never open to others.
    ::fchmod(listener_.get(), 0600);
    if (::bind(listener_.get(), address.get(), Address::size()) != 0 ||
        ::listen(listener_.get(), 64) != 0)
        throw sys_error("make the socket " + path_);
    acceptor_ = std::jthread([this] { accept_clients(); });
}

ControlServer::~ControlServer() {
    const std::uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(quit_.get(), &one, sizeof one);
    acceptor_.join();
    clients_.clear(); // joins each
    ::unlink(path_.c_str());
}

void ControlServer::accept_clients() {
    for (;;) {
        std::array<pollfd, 2> p{{{listener_.get(), POLLIN, 0}, {quit_.get(), POLLIN, 0}}};
        ::poll(p.data(), p.size(), -1);
        if (p[1].revents != 0)
            return;
        UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!client) {
            // Out of descriptors: they come back when clients leave. No busy loop meanwhile.
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                std::this_thread::sleep_for(std::chrono::milliseconds(100));
            continue;
        }
        reap_clients();
        if (clients_.size() >= limits_.clients) {
            const Error busy(ErrorKind::transient, "zl-walship has too many clients at a time");
            Line(client.get(), quit_.get(), Clock::now()).write(dump_json(error_json(busy)) + "\n");
            continue;
        }
        Client& entry = clients_.emplace_back();
        try {
            entry.thread = std::jthread([this, &entry, fd = std::move(client)] {
                serve(fd);
                std::lock_guard lock(mutex_);
                entry.done = true;
            });
        } catch (const std::system_error&) {
            clients_.pop_back(); // no thread to be had: the client sees the end and comes again
        }
    }
}

void ControlServer::reap_clients() {
    std::list<Client> ended;
    {
        std::lock_guard lock(mutex_);
        for (auto at = clients_.begin(); at != clients_.end();) {
            auto next = std::next(at);
            if (at->done)
                ended.splice(ended.end(), clients_, at);
            at = next;
        }
    }
}

void ControlServer::serve(const UniqueFd& client) {
    auto line = Line(client.get(), quit_.get(), Clock::now() + limits_.request).read();
    if (!line)
        return;
    const Json reply = answer(*line, [&] { return has_hung_up(client.get()); });
    Line(client.get(), -1, Clock::now() + limits_.request).write(dump_json(reply) + "\n");
}

Json ControlServer::answer(const std::string& line, const std::function<bool()>& gone) const {
    try {
        const Json request = parse_json(line, "request");
        if (!request.is_object())
            throw Error(ErrorKind::usage, "request: expected a JSON object");
        return Json{{"result", handler_(request, gone)}};
    } catch (const Error& e) {
        return error_json(e);
    } catch (const std::exception& e) {
        return error_json(Error(ErrorKind::internal, e.what()));
    }
}

std::optional<Json> ask_control(const std::string& directory, const Json& request, Millis limit,
                                const std::stop_token& stop) {
    const std::string path = directory + "/control";
    if (!path_exists(path))
        return std::nullopt;
    std::optional<Clock::time_point> end;
    if (limit > Millis(0))
        end = Clock::now() + limit;
    const UniqueFd fd = connect_to(directory, path, end, stop);
    if (!fd)
        return std::nullopt;
    UniqueFd quit(::eventfd(0, EFD_CLOEXEC));
    std::stop_callback wake(stop, [&] {
        const std::uint64_t one = 1;
        [[maybe_unused]] ssize_t n = ::write(quit.get(), &one, sizeof one);
    });
    Line line(fd.get(), quit.get(), end);
    // A busy server answers before it has read anything: the reply counts, not the sending.
    line.write(dump_json(request) + "\n");
    const std::optional<std::string> reply = line.read();
    if (stop.stop_requested())
        throw Interrupted();
    if (!reply && end && Clock::now() >= *end)
        throw Error(ErrorKind::transient,
                    "zl-walship does not answer within " + format_duration(limit));
    if (!reply)
        throw Error(ErrorKind::transient, "zl-walship ended before it answered");
    const Json answer = parse_json(*reply, "answer of zl-walship");
    if (answer.is_object() && answer.contains("error"))
        throw error_from(answer);
    if (!answer.is_object() || !answer.contains("result"))
        throw Error(ErrorKind::data, "answer of zl-walship: neither result nor error");
    return answer["result"];
}

} // namespace zl
