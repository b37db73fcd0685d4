/// A command behind us. Each case is a process of its own: signals and children belong to one.
#include "../temp_dir.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "signals.hpp"
#include "supervisor.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

using namespace zl;
using namespace std::chrono_literals;

namespace {

/// A forked process in its own session (no terminal) with a directory to talk through.
class Forked {
public:
    explicit Forked(const std::function<int(const std::string& dir)>& body) {
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ > 0)
            return;
        ::setsid();
        int code = 99;
        try {
            code = body(dir_.path());
        } catch (const std::exception& e) {
            AtomicFile file(dir_ / "exception");
            file.write(e.what());
            file.commit();
        }
        ::_exit(code);
    }

    int wait() const {
        int status = 0;
        REQUIRE(::waitpid(pid_, &status, 0) == pid_);
        return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    void kill(int signal) const { ::kill(pid_, signal); }
    std::string file(const char* name) const { return read_file(dir_ / name).value_or(""); }
    bool appears(const char* name) const {
        for (int i = 0; i < 1000 && file(name).empty(); ++i)
            std::this_thread::sleep_for(10ms);
        return !file(name).empty();
    }

private:
    test::TempDir dir_;
    pid_t pid_ = -1;
};

/// Runs `sh -c SCRIPT` ($D: the directory) as zl-walship does. @p after is called at its end.
int supervise(const std::string& dir, const std::string& script,
              const std::function<void()>& after = {}) {
    ::setenv("D", dir.c_str(), 1);
    Signals signals([] {}, Millis(0));
    std::atomic<int> ends{0};
    Supervisor child({"sh", "-c", script}, [&] { ++ends; });
    signals.hand_over(Supervisor::signals(), [&](int n) { child.on_signal(n); });
    child.start();
    const int code = child.wait();
    while (ends == 0) // called just after
        std::this_thread::sleep_for(1ms);
    if (after)
        after();
    signals.take_back();
    return ends == 1 ? code : 98;
}

/// Our children, zombies among them.
int children() {
    int count = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string pids = read_file(task.path().string() + "/children").value_or("");
        count += static_cast<int>(std::count(pids.begin(), pids.end(), ' '));
    }
    return count;
}

/// The hexadecimal field of /proc/PID/status.
unsigned long mask(const std::string& status, const std::string& field) {
    const std::size_t at = status.find(field + ":\t");
    return at == std::string::npos
               ? ~0UL
               : std::strtoul(status.c_str() + at + field.size() + 2, nullptr, 16);
}

} // namespace

TEST_SUITE("tools/supervisor") {
    TEST_CASE("its exit code is the command's, or 128+n") {
        for (const auto& [script, code] : std::vector<std::pair<std::string, int>>{
                 {"exit 0", 0}, {"exit 7", 7}, {"kill -KILL $$", 137}, {"kill -TERM $$", 143}}) {
            CAPTURE(script);
            Forked run([&, text = script](const std::string& dir) { return supervise(dir, text); });
            CHECK(run.wait() == code);
        }
    }

    TEST_CASE("a command that cannot be run is said to be so") {
        for (const auto& [command, kind] : std::vector<std::pair<std::string, ErrorKind>>{
                 {"/nonexistent/command", ErrorKind::not_found}, {"/etc", ErrorKind::denied}}) {
            CAPTURE(command);
            Supervisor child({command}, [] {});
            try {
                child.start();
                FAIL("no error");
            } catch (const Error& e) {
                CHECK(e.kind() == kind);
            }
            CHECK_FALSE(child.started());
        }
    }

    TEST_CASE("every signal that can be is passed on") {
        Forked run([](const std::string& dir) {
            return supervise(dir, "for s in HUP INT QUIT USR1 USR2 ALRM WINCH PWR IO RTMIN+3; do\n"
                                  "trap \"echo $s >>$D/got\" $s; done\n"
                                  "trap 'echo TERM >>$D/got; exit 5' TERM\n"
                                  "echo x >$D/ready; while :; do sleep 0.02; done");
        });
        REQUIRE(run.appears("ready"));
        std::string expected;
        for (const auto& [signal, name] :
             std::vector<std::pair<int, std::string>>{{SIGHUP, "HUP"},
                                                      {SIGINT, "INT"},
                                                      {SIGQUIT, "QUIT"},
                                                      {SIGUSR1, "USR1"},
                                                      {SIGUSR2, "USR2"},
                                                      {SIGALRM, "ALRM"},
                                                      {SIGWINCH, "WINCH"},
                                                      {SIGPWR, "PWR"},
                                                      {SIGIO, "IO"},
                                                      {SIGRTMIN + 3, "RTMIN+3"},
                                                      {SIGTERM, "TERM"}}) {
            run.kill(signal);
            expected += name + "\n";
            for (int i = 0; i < 500 && run.file("got") != expected; ++i)
                std::this_thread::sleep_for(10ms);
            CHECK(run.file("got") == expected);
        }
        CHECK(run.wait() == 5);
    }

    TEST_CASE("many signals at once all get through, and none after its end") {
        Forked run([](const std::string& dir) {
            return supervise(dir,
                             "trap 'echo x >>$D/got' USR1; trap 'exit 0' TERM\n"
                             "echo x >$D/ready; while :; do sleep 0.01; done",
                             [] { // reaped: nobody there any more
                                 ::kill(::getpid(), SIGTERM);
                                 std::this_thread::sleep_for(100ms);
                             });
        });
        REQUIRE(run.appears("ready"));
        for (int i = 0; i < 50; ++i) {
            run.kill(SIGUSR1);
            std::this_thread::sleep_for(2ms);
        }
        run.kill(SIGTERM);
        CHECK(run.wait() == 0);
        CHECK(run.file("got").size() >= 2);
    }

    TEST_CASE("orphans of the command come to us and are reaped") {
        Forked run([](const std::string& dir) {
            // Two generations: the one in the middle dies, the last one ends later.
            return supervise(
                dir, "for i in 1 2 3 4 5; do (sh -c 'sleep 0.3; exit 4' & ) ; done; exit 6", [&] {
                    const int alive = children();
                    for (int i = 0; i < 500 && children() > 0; ++i)
                        std::this_thread::sleep_for(10ms);
                    AtomicFile file(dir + "/counts");
                    file.write(std::to_string(alive) + " " + std::to_string(children()));
                    file.commit();
                });
        });
        CHECK(run.wait() == 6);
        CHECK(run.file("counts") == "5 0");
    }

    TEST_CASE("the command has a group of its own and default signals, ignored ones stay ignored") {
        Forked run([](const std::string& dir) {
            ::signal(SIGHUP, SIG_IGN);
            ::signal(SIGTERM, SIG_DFL);
            return supervise(dir,
                             "kill -HUP $$; echo \"$(ps -o pgid= -p $$)\" $$ >$D/group\n"
                             "grep -E 'Sig(Blk|Ign)' /proc/self/status >$D/sig; kill -USR1 $$");
        });
        CHECK(run.wait() == 128 + SIGUSR1);
        std::string group = run.file("group");
        CHECK(std::atoi(group.c_str()) ==
              std::atoi(group.c_str() + group.find_first_not_of(' ') +
                        std::to_string(std::atoi(group.c_str())).size()));
        auto bit = [](int signal) { return 1UL << (signal - 1); };
        CHECK(mask(run.file("sig"), "SigBlk") == 0);
        const unsigned long ignored = mask(run.file("sig"), "SigIgn");
        CHECK((ignored & bit(SIGHUP)) != 0);
        CHECK((ignored & (bit(SIGTERM) | bit(SIGINT) | bit(SIGUSR1) | bit(SIGCHLD))) == 0);
    }

    TEST_CASE("a signal that came before the hand-over is told") {
        Forked run([](const std::string&) {
            Signals signals([] {}, Millis(0));
            ::kill(::getpid(), SIGTERM);
            while (!signals.token().stop_requested())
                std::this_thread::sleep_for(1ms);
            const int before = signals.hand_over({SIGTERM}, [](int) {});
            ::kill(::getpid(), SIGTERM); // a third and fourth do not end us any more
            ::kill(::getpid(), SIGTERM);
            std::this_thread::sleep_for(50ms);
            return before == SIGTERM && signals.caught() == 0 ? 0 : 1;
        });
        CHECK(run.wait() == 0);
    }
}
