#include "signals.hpp"

#include "base/error.hpp"
#include "base/file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace zl {

namespace {

constexpr std::array kStopSignals{SIGINT, SIGTERM, SIGHUP};

// A handler gets no argument of ours: what it touches has to be global, and lock-free.
std::atomic<int> handler_pipe{-1};
std::atomic<int> stops_seen{0};

extern "C" void on_signal(int signal) {
    const int saved = errno;
    if (signal != SIGUSR1 && stops_seen.fetch_add(1) > 0)
        ::_exit(128 + signal); // asked twice: now
    const auto byte = static_cast<unsigned char>(signal);
    // A full pipe holds enough signals already.
    [[maybe_unused]] ssize_t n = ::write(handler_pipe, &byte, 1);
    errno = saved;
}

extern "C" void on_sigpipe(int) {}

void handle(int signal, void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    ::sigaction(signal, &action, nullptr);
}

bool is_ignored(int signal) {
    struct sigaction now {};
    return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

} // namespace

void survive_sigpipe() {
    handle(SIGPIPE, on_sigpipe);
}

Signals::Signals(std::function<void()> on_report, Millis limit)
    : on_report_(std::move(on_report)), limit_(limit) {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
        throw sys_error("pipe");
    wake_ = fds[0];
    handler_pipe = fds[1];
    stops_seen = 0;
    thread_ = std::jthread([this](const std::stop_token& quit) { run(quit); });
    for (int signal : kStopSignals)
        if (!is_ignored(signal))
            handle(signal, on_signal);
    handle(SIGUSR1, on_signal);
}

Signals::~Signals() {
    for (int signal : kStopSignals)
        if (!is_ignored(signal))
            handle(signal, SIG_DFL);
    // A late progress request shall not kill a run that is just ending well.
    handle(SIGUSR1, SIG_IGN);
    thread_.request_stop();
    thread_.join();
    ::close(handler_pipe.exchange(-1));
    ::close(wake_);
}

void Signals::run(const std::stop_token& quit) {
    std::stop_callback wake(quit, [] {
        const unsigned char nothing = 0;
        [[maybe_unused]] ssize_t n = ::write(handler_pipe, &nothing, 1);
    });
    const auto end = std::chrono::steady_clock::now() + limit_;
    while (!quit.stop_requested()) {
        int wait = -1;
        if (limit_ > Millis(0) && !timed_out_) {
            auto left = std::chrono::ceil<Millis>(end - std::chrono::steady_clock::now());
            if (left <= Millis(0)) {
                timed_out_ = true;
                stop_.request_stop();
                continue;
            }
            wait = static_cast<int>(std::min<long long>(left.count(), 3'600'000));
        }
        pollfd p{wake_, POLLIN, 0};
        ::poll(&p, 1, wait);
        unsigned char byte = 0;
        while (::read(wake_, &byte, 1) == 1) {
            if (byte == SIGUSR1) {
                on_report_();
            } else if (byte != 0) {
                caught_ = byte;
                stop_.request_stop();
            }
        }
    }
}

bool in_foreground_of_terminal() {
    UniqueFd terminal(::open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC));
    return terminal && ::tcgetpgrp(terminal.get()) == ::getpgrp();
}

void end_by_signal(int signal) {
    if (::getpid() != 1) {
        handle(signal, SIG_DFL);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, signal);
        ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
        ::raise(signal);
    }
    ::_exit(128 + signal);
}

} // namespace zl
