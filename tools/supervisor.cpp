#include "supervisor.hpp"

#include "base/error.hpp"
#include "base/handle.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

extern char** environ;

namespace zl {

namespace {

int exit_code_of(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Setting the foreground group from the background raises SIGTTOU, unless it is blocked.
void set_foreground(int terminal, pid_t group) {
    sigset_t ttou, before;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    ::pthread_sigmask(SIG_BLOCK, &ttou, &before);
    ::tcsetpgrp(terminal, group);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

pid_t spawn(const std::vector<std::string>& argv, int terminal) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    Finally release([&] {
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
    });
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    // In the child, so that it never reads the terminal before it may.
    if (terminal >= 0)
        ::posix_spawn_file_actions_addtcsetpgrp_np(&actions, terminal);
    std::vector<char*> args;
    for (const std::string& a : argv)
        args.push_back(const_cast<char*>(a.c_str()));
    args.push_back(nullptr);
    // Our handlers become the default by exec; what we found ignored stays ignored.
    pid_t pid = -1;
    int problem = ::posix_spawnp(&pid, args[0], &actions, &attributes, args.data(), environ);
    if (problem != 0)
        throw sys_error("run " + argv[0], problem);
    return pid;
}

} // namespace

Supervisor::Supervisor(std::vector<std::string> argv, std::function<void()> on_end)
    : argv_(std::move(argv)), on_end_(std::move(on_end)) {}

std::vector<int> Supervisor::signals() {
    std::vector<int> all{SIGHUP,  SIGINT,   SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM,
                         SIGCONT, SIGWINCH, SIGTSTP, SIGURG,  SIGIO,   SIGPWR,  SIGCHLD};
    for (int n = SIGRTMIN; n <= SIGRTMAX; ++n)
        all.push_back(n);
    return all;
}

void Supervisor::start() {
    if (::getpid() != 1)
        ::prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL);
    if (int fd = ::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC); fd >= 0) {
        terminal_ = UniqueFd(fd);
        if (::tcgetpgrp(fd) != ::getpgrp())
            terminal_.reset();
    }
    // Held until its id is known: it may have ended by then.
    std::lock_guard lock(mutex_);
    try {
        pid_ = spawn(argv_, terminal_.get());
    } catch (...) {
        take_terminal();
        throw;
    }
}

bool Supervisor::started() const {
    std::lock_guard lock(mutex_);
    return pid_ > 0;
}

void Supervisor::on_signal(int signal) {
    if (signal == SIGCHLD)
        return reap();
    std::lock_guard lock(mutex_);
    // Once it was reaped its number may be another's.
    if (pid_ > 0 && !exit_code_)
        ::kill(pid_, signal);
}

void Supervisor::reap() {
    bool ended = false;
    {
        std::lock_guard lock(mutex_);
        int status = 0;
        for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0;) {
            if (WIFSTOPPED(status)) {
                if (pid == pid_)
                    stopped(WSTOPSIG(status));
            } else if (pid == pid_ && !exit_code_) {
                exit_code_ = exit_code_of(status);
                ended = true;
            }
        }
        if (ended)
            take_terminal();
    }
    if (ended) {
        ended_.notify_all();
        on_end_();
    }
}

/// Ctrl-Z: only the command's group got it, and the shell waits for us. Stop too, so that it gets
/// its terminal back; continued, we hand it on again.
void Supervisor::stopped(int signal) {
    if (!terminal_ || signal == SIGSTOP || ::tcgetpgrp(terminal_.get()) != ::getpgid(pid_))
        return;
    set_foreground(terminal_.get(), ::getpgrp());
    // raise(), which stops this very thread first. As process 1 it has no effect: the command goes
    // on.
    ::raise(SIGSTOP);
    give_terminal();
    ::kill(-pid_, SIGCONT);
}

void Supervisor::give_terminal() {
    if (terminal_ && ::tcgetpgrp(terminal_.get()) == ::getpgrp())
        set_foreground(terminal_.get(), ::getpgid(pid_));
}

void Supervisor::take_terminal() {
    if (!terminal_)
        return;
    // Not if somebody else, the shell say, has taken it meanwhile: only what is the command's.
    const pid_t now = ::tcgetpgrp(terminal_.get());
    if (now != ::getpgrp() && (pid_ <= 0 || now == pid_))
        set_foreground(terminal_.get(), ::getpgrp());
}

std::optional<int> Supervisor::exit_code() const {
    std::lock_guard lock(mutex_);
    return exit_code_;
}

int Supervisor::wait() const {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return exit_code_.has_value(); });
    return *exit_code_;
}

} // namespace zl
