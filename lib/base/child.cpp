#include "base/child.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

extern char** environ;

namespace zl {

Child::Child(const std::vector<std::string>& argv) {
    int p[2];
    if (::pipe2(p, O_CLOEXEC) != 0)
        throw sys_error("pipe");
    out_ = UniqueFd(p[0]);
    UniqueFd write_end(p[1]);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    for (int s : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGUSR1})
        sigaddset(&defaults, s);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

    std::vector<char*> args;
    for (const std::string& a : argv)
        args.push_back(const_cast<char*>(a.c_str()));
    args.push_back(nullptr);
    int code = ::posix_spawnp(&pid_, args[0], &actions, &attributes, args.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (code != 0) {
        pid_ = -1;
        throw sys_error("run " + argv[0], code);
    }
    // Fewer switches between us and it; where it is refused the pipe just stays small.
    ::fcntl(out_.get(), F_SETPIPE_SZ, 1 << 20);
}

namespace {

int exit_code_of(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

} // namespace

int Child::wait(const std::stop_token& stop) {
    for (;;) {
        if (auto code = wait_for(100))
            return *code;
        if (pid_ < 0) // reaped by the system: SIGCHLD was ignored when we were started
            throw sys_error("wait for child", ECHILD);
        if (stop.stop_requested())
            throw Interrupted();
    }
}

std::optional<int> Child::wait_for(int milliseconds) {
    for (int i = 0; pid_ >= 0 && i <= milliseconds / 10; ++i) {
        int status = 0;
        const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
        if (ended != 0 && (ended > 0 || errno == ECHILD))
            pid_ = -1;
        if (ended > 0)
            return exit_code_of(status);
        ::usleep(10000);
    }
    return std::nullopt;
}

Child::~Child() {
    if (pid_ < 0)
        return;
    ::kill(pid_, SIGTERM);
    if (wait_for(2000))
        return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

} // namespace zl
