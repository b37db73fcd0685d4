#include "signals.hpp"

#include "base/error.hpp"
#include "base/file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>

namespace zl {

namespace {

constexpr std::array kStopSignals{SIGINT, SIGTERM, SIGHUP};

// A handler gets no argument of ours: what it touches has to be global, and lock-free.
std::atomic<int> handler_pipe{-1};
std::atomic<int> stops_seen{0};
std::atomic<bool> second_ends{true};

extern "C" void on_signal(int signal) {
    const int saved = errno;
    if (signal != SIGUSR1 && second_ends && stops_seen.fetch_add(1) > 0)
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
    second_ends = true;
    thread_ = std::jthread([this](const std::stop_token& quit) { run(quit); });
    for (int signal : kStopSignals)
        if (!is_ignored(signal))
            handle(signal, on_signal);
    handle(SIGUSR1, on_signal);
}

bool Signals::caught_within(Millis patience) const {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop_.get_token(), patience, [] { return false; });
    return caught_ != 0;
}

Signals::~Signals() {
    for (int signal : kStopSignals)
        if (!is_ignored(signal))
            handle(signal, SIG_DFL);
    // A late progress request shall not kill a run that is just ending well.
    handle(SIGUSR1, SIG_IGN);
    for (int signal : handed_over_)
        if (std::find(kStopSignals.begin(), kStopSignals.end(), signal) == kStopSignals.end())
            handle(signal, signal == SIGCHLD ? SIG_DFL : SIG_IGN);
    thread_.request_stop();
    thread_.join();
    ::close(handler_pipe.exchange(-1));
    ::close(wake_);
}

int Signals::hand_over(const std::vector<int>& signals, std::function<void(int)> taker) {
    int before = 0;
    {
        std::lock_guard lock(mutex_);
        second_ends = false;
        before = caught_.exchange(0);
        on_signal_ = std::move(taker);
        handed_over_ = signals;
    }
    for (int signal : signals)
        if (signal == SIGCHLD || !is_ignored(signal))
            handle(signal, on_signal);
    return before;
}

void Signals::take_back() {
    std::lock_guard lock(mutex_);
    on_signal_ = nullptr;
}

void Signals::deliver(int signal) {
    {
        std::lock_guard lock(mutex_);
        if (std::find(handed_over_.begin(), handed_over_.end(), signal) != handed_over_.end()) {
            if (on_signal_)
                on_signal_(signal);
            return;
        }
    }
    if (signal == SIGUSR1)
        return on_report_();
    caught_ = signal;
    stop_.request_stop();
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
            if (byte != 0)
                deliver(byte);
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
