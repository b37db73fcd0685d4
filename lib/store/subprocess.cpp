#include "store/subprocess.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/handle.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace zl {

namespace {

using Clock = std::chrono::steady_clock;

/// A process group of its own, killed and reaped unless it ended.
class Child {
public:
    Child(const std::string& command, int output);
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (pid_ <= 0)
            return;
        ::kill(-pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    /// Exit status once it has ended.
    bool ended(int& status) {
        int raw = 0;
        pid_t got = ::waitpid(pid_, &raw, WNOHANG);
        // ECHILD: whoever reaps all children of the process was faster; its output has to do.
        if (got != pid_ && !(got < 0 && errno == ECHILD))
            return false;
        pid_ = -1;
        status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
        return true;
    }

private:
    pid_t pid_ = -1;
};

Child::Child(const std::string& command, int output) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    Finally release([&] {
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
    });
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    // Our threads block signals that a program expects to get.
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    std::string shell = "sh", option = "-c", text = command;
    std::array<char*, 4> argv = {shell.data(), option.data(), text.data(), nullptr};
    int problem = posix_spawn(&pid_, "/bin/sh", &actions, &attributes, argv.data(), environ);
    if (problem != 0) {
        pid_ = -1;
        throw sys_error("start /bin/sh", problem);
    }
}

} // namespace

ProcessResult run_shell(const std::string& command, Millis limit, std::size_t max_output,
                        const std::stop_token& stop) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        throw sys_error("pipe");
    UniqueFd reader(ends[0]), writer(ends[1]);
    Child child(command, writer.get());
    writer.reset();
    ProcessResult result;
    const auto deadline = Clock::now() + limit;
    bool open = true;
    std::array<char, 4096> buffer;
    while (Clock::now() < deadline) {
        if (stop.stop_requested())
            throw Interrupted();
        // Output may stay open in a grandchild: the end of the shell is what counts.
        result.finished = result.finished || child.ended(result.status);
        if (result.finished && !open)
            return result;
        pollfd wanted{open ? reader.get() : -1, POLLIN, 0};
        int ready = ::poll(&wanted, 1, result.finished ? 0 : 50);
        if (ready <= 0) {
            if (result.finished)
                return result;
            continue;
        }
        ssize_t got = ::read(reader.get(), buffer.data(), buffer.size());
        if (got < 0 && errno != EINTR)
            throw sys_error("read from credential_process");
        open = got != 0;
        if (got > 0)
            result.output.append(buffer.data(), static_cast<std::size_t>(got));
        if (result.output.size() > max_output)
            throw Error(ErrorKind::data, "credential_process printed too much");
    }
    return result;
}

} // namespace zl
