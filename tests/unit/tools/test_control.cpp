/// The control socket, and the messages to a service manager.
#include "../temp_dir.hpp"
#include "control.hpp"
#include "notify.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>

using namespace zl;
using namespace std::chrono_literals;

namespace {

using test::TempDir;

const ControlServer::Handler kEcho = [](const Json& request, const auto&) { return request; };

Json ask(const std::string& dir, const Json& request) {
    auto reply = ask_control(dir, request, 5s, {});
    REQUIRE(reply.has_value());
    return *reply;
}

/// A client that is not ours.
UniqueFd raw_client(const std::string& dir) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, (dir + "/control").c_str());
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return fd;
}
std::string read_all(const UniqueFd& fd) {
    std::string text(1 << 16, '\0');
    const timeval limit{5, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    std::size_t size = 0;
    for (ssize_t n = 0; (n = ::recv(fd.get(), text.data() + size, text.size() - size, 0)) > 0;)
        size += static_cast<std::size_t>(n);
    text.resize(size);
    return text;
}
std::string exchange_raw(const std::string& dir, const std::string& bytes) {
    UniqueFd fd = raw_client(dir);
    [[maybe_unused]] ssize_t n = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return read_all(fd);
}

} // namespace

TEST_SUITE("tools/control") {
    TEST_CASE("a request is answered; nobody there is no error") {
        TempDir dir;
        CHECK_FALSE(ask_control(dir.path(), Json{{"a", 1}}, 5s, {}).has_value());
        {
            ControlServer server(dir.path(), kEcho);
            CHECK(ask(dir.path(), Json{{"a", 1}}) == Json{{"a", 1}});
            struct stat status {};
            REQUIRE(::stat((dir.path() + "/control").c_str(), &status) == 0);
            CHECK((status.st_mode & 07777) == 0600);
        }
        CHECK_FALSE(path_exists(dir.path() + "/control"));
        CHECK_FALSE(ask_control(dir.path(), Json{{"a", 1}}, 5s, {}).has_value());
    }

    TEST_CASE("an error keeps its kind, message and hint") {
        TempDir dir;
        ControlServer server(dir.path(), [](const Json& r, const auto&) -> Json {
            if (r.contains("odd"))
                throw std::runtime_error("odd");
            throw Error(ErrorKind::fenced, "app belongs to h2", "ask h2");
        });
        try {
            ask(dir.path(), Json::object());
            FAIL("no error");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::fenced);
            CHECK(e.message() == "app belongs to h2");
            CHECK(e.hint() == "ask h2");
        }
        try {
            ask(dir.path(), Json{{"odd", 1}});
            FAIL("no error");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::internal);
        }
    }

    TEST_CASE("a path of more than 107 bytes works") {
        TempDir dir;
        std::string deep = dir.path();
        for (int i = 0; i < 5; ++i)
            deep += "/" + std::string(100, 'x');
        std::filesystem::create_directories(deep);
        ControlServer server(deep, kEcho);
        CHECK(ask(deep, Json{{"a", 2}}) == Json{{"a", 2}});
        CHECK(path_exists(deep + "/control"));
    }

    TEST_CASE("the socket of a killed server is replaced, and silent before that") {
        TempDir dir;
        {
            sockaddr_un address{};
            address.sun_family = AF_UNIX;
            std::strcpy(address.sun_path, (dir.path() + "/control").c_str());
            UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
            REQUIRE(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        }
        REQUIRE(path_exists(dir.path() + "/control"));
        CHECK_FALSE(ask_control(dir.path(), Json{{"a", 1}}, 5s, {}).has_value());
        ControlServer server(dir.path(), kEcho);
        CHECK(ask(dir.path(), Json{{"a", 1}}) == Json{{"a", 1}});
    }

    TEST_CASE("junk is answered with an error or not at all, and harms nobody") {
        TempDir dir;
        ControlServer server(dir.path(), kEcho);
        for (const char* junk :
             {"\n", "{\n", "[1]\n", "\"x\"\n", "\xff\xfe\n", "GET / HTTP/1.1\r\n", "{\"a\":1}}\n"})
            CHECK(exchange_raw(dir.path(), junk).starts_with("{\"error\":"));
        const auto began = std::chrono::steady_clock::now();
        CHECK(exchange_raw(dir.path(), std::string(200'000, 'x')).empty());
        // Not at the end of its time, but when it was too much: memory is bounded.
        CHECK(std::chrono::steady_clock::now() - began < 4s);
        CHECK(exchange_raw(dir.path(), std::string(60'000, '[') + "\n").starts_with("{\"error\":"));
        CHECK(ask(dir.path(), Json{{"a", 1}}) == Json{{"a", 1}});
    }

    TEST_CASE("clients that never speak or never read hold up nobody") {
        TempDir dir;
        ControlServer server(dir.path(), kEcho, {.clients = 64, .request = 300ms});
        std::vector<UniqueFd> silent;
        for (int i = 0; i < 30; ++i)
            silent.push_back(raw_client(dir.path()));
        std::vector<UniqueFd> deaf;
        for (int i = 0; i < 10; ++i) {
            deaf.push_back(raw_client(dir.path()));
            const std::string request = "{\"a\":\"" + std::string(60'000, 'x') + "\"}\n";
            ::send(deaf.back().get(), request.data(), request.size(), MSG_NOSIGNAL);
        }
        CHECK(ask(dir.path(), Json{{"a", 1}}) == Json{{"a", 1}});
        // After its time a silent one is shown the door.
        CHECK(read_all(silent.front()).empty());
    }

    TEST_CASE("one client too many is told so, and has its turn later") {
        TempDir dir;
        ControlServer server(dir.path(), kEcho, {.clients = 4, .request = 1s});
        std::vector<UniqueFd> silent;
        for (int i = 0; i < 4; ++i)
            silent.push_back(raw_client(dir.path()));
        std::this_thread::sleep_for(100ms);
        try {
            ask(dir.path(), Json::object());
            FAIL("no error");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::transient);
            CHECK(e.message().find("too many") != std::string::npos);
        }
        silent.clear();
        std::this_thread::sleep_for(100ms);
        CHECK(ask(dir.path(), Json{{"a", 1}}) == Json{{"a", 1}});
    }

    TEST_CASE("a handler is told that its client hung up") {
        TempDir dir;
        std::atomic<int> state{0};
        ControlServer server(dir.path(), [&](const Json&, const auto& gone) -> Json {
            state = gone() ? -1 : 1;
            for (int i = 0; i < 500 && !gone(); ++i)
                std::this_thread::sleep_for(10ms);
            state = gone() ? 2 : -2;
            return nullptr;
        });
        {
            UniqueFd fd = raw_client(dir.path());
            REQUIRE(::send(fd.get(), "{}\n", 3, 0) == 3);
            for (int i = 0; i < 500 && state == 0; ++i)
                std::this_thread::sleep_for(10ms);
            CHECK(state == 1);
        }
        for (int i = 0; i < 500 && state == 1; ++i)
            std::this_thread::sleep_for(10ms);
        CHECK(state == 2);
    }

    TEST_CASE("the time limit and a stop end the waiting") {
        TempDir dir;
        std::atomic<bool> end{false};
        ControlServer server(dir.path(), [&](const Json&, const auto&) -> Json {
            while (!end)
                std::this_thread::sleep_for(5ms);
            return nullptr;
        });
        try {
            ask_control(dir.path(), Json::object(), 100ms, {});
            FAIL("no error");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::transient);
        }
        std::stop_source stop;
        std::jthread later([&] {
            std::this_thread::sleep_for(100ms);
            stop.request_stop();
        });
        CHECK_THROWS_AS(ask_control(dir.path(), Json::object(), 0ms, stop.get_token()),
                        Interrupted);
        end = true;
    }

    TEST_CASE("its end does not wait for silent clients") {
        TempDir dir;
        const auto began = std::chrono::steady_clock::now();
        {
            ControlServer server(dir.path(), kEcho, {.clients = 4, .request = 60s});
            UniqueFd fd = raw_client(dir.path());
            std::this_thread::sleep_for(50ms);
        }
        CHECK(std::chrono::steady_clock::now() - began < 10s);
    }

    TEST_CASE("a server that dies in the middle is a temporary failure") {
        TempDir dir;
        UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strcpy(address.sun_path, (dir.path() + "/control").c_str());
        REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(::listen(listener.get(), 1) == 0);
        std::jthread dies([&] {
            UniqueFd fd(::accept(listener.get(), nullptr, nullptr));
            char byte = 0;
            [[maybe_unused]] ssize_t n = ::recv(fd.get(), &byte, 1, 0);
            n = ::send(fd.get(), "{\"resu", 6, MSG_NOSIGNAL);
        });
        try {
            ask_control(dir.path(), Json::object(), 5s, {});
            FAIL("no error");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::transient);
            CHECK(e.message().find("ended") != std::string::npos);
        }
    }
}

namespace {

/// What a service manager would receive.
class Manager {
public:
    explicit Manager(const std::string& name) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, name.data(), name.size());
        const bool abstract = name[0] == '\0';
        const auto size = offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 0 : 1);
        REQUIRE(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address),
                       static_cast<socklen_t>(size)) == 0);
        const timeval limit{2, 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }
    std::string receive() const {
        char buffer[1000];
        const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
        return n < 0 ? "nothing" : std::string(buffer, static_cast<std::size_t>(n));
    }

private:
    UniqueFd fd_;
};

Environment environment(std::map<std::string, std::string> values) {
    return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
        auto found = values.find(name);
        return found == values.end() ? std::nullopt : std::optional(found->second);
    };
}

} // namespace

TEST_SUITE("tools/notify") {
    TEST_CASE("messages arrive at a path and at an abstract name") {
        TempDir dir;
        const std::string path = dir.path() + "/notify";
        const std::string name = "zl-test-" + std::to_string(::getpid());
        for (const std::string& given : {path, "@" + name}) {
            CAPTURE(given);
            Manager manager(given == path ? path : std::string(1, '\0') + name);
            Notifier notifier(environment({{"NOTIFY_SOCKET", given}}));
            CHECK(notifier.active());
            notifier.send("READY=1\nSTATUS=a b");
            CHECK(manager.receive() == "READY=1\nSTATUS=a b");
        }
    }

    TEST_CASE("no manager, or an address that is none: silence") {
        for (const char* address :
             {"", "x", "/", "relative/path", "vsock:2:1234", "/nonexistent/notify"}) {
            Notifier notifier(environment({{"NOTIFY_SOCKET", address}}));
            notifier.send("READY=1");
        }
        CHECK_FALSE(Notifier(environment({})).active());
        CHECK_FALSE(
            Notifier(environment({{"NOTIFY_SOCKET", "/" + std::string(200, 'x')}})).active());
    }

    TEST_CASE("the watchdog is fed at half its time, if it is ours") {
        auto watchdog = [](std::map<std::string, std::string> values) {
            values["NOTIFY_SOCKET"] = "/run/x";
            return Notifier(environment(std::move(values))).watchdog();
        };
        CHECK(watchdog({{"WATCHDOG_USEC", "3000000"}}) == 1500ms);
        CHECK(watchdog({{"WATCHDOG_USEC", "3000000"},
                        {"WATCHDOG_PID", std::to_string(::getpid())}}) == 1500ms);
        CHECK_FALSE(watchdog({{"WATCHDOG_USEC", "3000000"}, {"WATCHDOG_PID", "1"}}).has_value());
        for (const char* bad : {"", "0", "-5", "x", "3s"})
            CHECK_FALSE(watchdog({{"WATCHDOG_USEC", bad}}).has_value());
        CHECK_FALSE(watchdog({}).has_value());
    }
}
