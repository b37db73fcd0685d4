/// run_tool as a parent sees it: each case forks a child that is a tool.
#include "../temp_dir.hpp"
#include "base/file.hpp"
#include "stream/stream.hpp"
#include "tool.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <new>
#include <thread>

using namespace zl;
using namespace std::chrono_literals;

namespace {

using Body = std::function<int(ToolContext&)>;

/// A child process that is `zl-push ARGUMENTS` with this body.
class Child {
public:
    Child(std::vector<std::string> arguments, const Body& body, int ignored_signal = 0)
        : ignored_signal_(ignored_signal) {
        arguments.insert(arguments.begin(), {"zl-push", "--metrics", dir_ / "metrics"});
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0)
            run(arguments, body);
    }

    void kill(int signal) const { ::kill(pid_, signal); }
    /// Exit code, or 1000 + the signal that ended it.
    int wait() const {
        int status = 0;
        REQUIRE(::waitpid(pid_, &status, 0) == pid_);
        return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    std::string file(const char* name) const { return read_file(dir_ / name).value_or(""); }
    std::string exit_metric() const {
        std::string text = file("metrics");
        std::size_t at = text.find("\nzl_last_exit_code{");
        if (at == std::string::npos)
            return "none";
        std::string line = text.substr(at + 1, text.find('\n', at + 1) - at - 1);
        return line.substr(line.rfind(' ') + 1);
    }
    /// Until the body has called ready().
    void wait_ready() const {
        for (int i = 0; i < 500 && file("ready").empty(); ++i)
            std::this_thread::sleep_for(10ms);
        REQUIRE(file("ready") != "");
    }
    static void ready(ToolContext& ctx) {
        AtomicFile f(dir_name(ctx.settings().metrics) + "/ready");
        f.write("x");
        f.commit();
    }

private:
    [[noreturn]] void run(std::vector<std::string>& arguments, const Body& body) {
        for (int signal : {SIGINT, SIGTERM, SIGHUP})
            ::signal(signal, signal == ignored_signal_ ? SIG_IGN : SIG_DFL);
        ::setsid(); // without the terminal of whoever runs the tests
        ::dup2(open_file(dir_ / "out", O_CREAT | O_WRONLY).get(), 1);
        ::dup2(open_file(dir_ / "err", O_CREAT | O_WRONLY).get(), 2);
        ::setenv("ZL_CONFIG", "/dev/null", 1);
        std::vector<char*> argv;
        for (std::string& a : arguments)
            argv.push_back(a.data());
        ToolSpec spec;
        spec.name = "zl-push";
        spec.uses_store = true;
        ::_exit(run_tool(static_cast<int>(argv.size()), argv.data(), spec, body));
    }

    test::TempDir dir_;
    pid_t pid_ = -1;
    int ignored_signal_;
};

/// Wait for the stop as a library would.
int wait_for_stop(ToolContext& ctx) {
    Child::ready(ctx);
    while (!ctx.stop().stop_requested())
        std::this_thread::sleep_for(5ms);
    throw Interrupted();
}

} // namespace

TEST_SUITE("tools/tool") {
    TEST_CASE("the body's code is the exit code, and nothing is on stderr") {
        Child c({}, [](ToolContext& ctx) {
            ctx.log().info("not shown");
            ctx.print("sha256:00");
            return kExitIncomplete;
        });
        CHECK(c.wait() == 3);
        CHECK(c.file("out") == "sha256:00\n");
        CHECK(c.file("err") == "");
        CHECK(c.exit_metric() == "3");
    }

    TEST_CASE("each kind of error has its code, message and hint, also in the metrics") {
        const std::vector<std::pair<ErrorKind, int>> kinds{
            {ErrorKind::usage, 64},       {ErrorKind::data, 65},     {ErrorKind::not_found, 66},
            {ErrorKind::internal, 70},    {ErrorKind::exists, 73},   {ErrorKind::io, 74},
            {ErrorKind::transient, 75},   {ErrorKind::conflict, 75}, {ErrorKind::gone, 75},
            {ErrorKind::unsupported, 78}, {ErrorKind::fenced, 76},   {ErrorKind::denied, 77},
            {ErrorKind::config, 78}};
        for (auto [kind, code] : kinds) {
            CAPTURE(code);
            Child c({}, [kind = kind](ToolContext&) -> int {
                throw Error(kind, "it failed", "mend it");
            });
            CHECK(c.wait() == code);
            CHECK(c.file("err") == "zl-push: it failed\nhint: mend it\n");
            CHECK(c.exit_metric() == std::to_string(code));
        }
    }

    TEST_CASE("other exceptions: out of memory 74, anything else is our bug") {
        Child memory({}, [](ToolContext&) -> int { throw std::bad_alloc(); });
        CHECK(memory.wait() == 74);
        Child bug({}, [](ToolContext&) -> int { throw std::logic_error("oops"); });
        CHECK(bug.wait() == 70);
        CHECK(bug.file("err").find("oops\nhint: this is a bug") != std::string::npos);
        Child number({}, [](ToolContext&) -> int { throw 42; });
        CHECK(number.wait() == 70);
    }

    TEST_CASE("signals: stop, clean up, metrics, then 128+n") {
        for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
            CAPTURE(signal);
            Child c({}, wait_for_stop);
            c.wait_ready();
            c.kill(signal);
            CHECK(c.wait() == 128 + signal);
            CHECK(c.exit_metric() == std::to_string(128 + signal));
            CHECK(c.file("err") == "");
        }
    }

    TEST_CASE("a request broken off by the signal is not reported as its own failure") {
        Child c({}, [](ToolContext& ctx) -> int {
            try {
                wait_for_stop(ctx);
            } catch (const Interrupted&) {
            }
            throw Error(ErrorKind::transient, "connection closed");
        });
        c.wait_ready();
        c.kill(SIGTERM);
        CHECK(c.wait() == 128 + SIGTERM);
        CHECK(c.file("err") == "");
    }

    TEST_CASE("work that was complete before it noticed the signal is complete") {
        Child c({}, [](ToolContext& ctx) {
            try {
                wait_for_stop(ctx);
            } catch (const Interrupted&) {
            }
            return 0;
        });
        c.wait_ready();
        c.kill(SIGTERM);
        CHECK(c.wait() == 0);
    }

    TEST_CASE("a second signal ends it at once") {
        Child c({}, [](ToolContext& ctx) -> int {
            Child::ready(ctx);
            std::this_thread::sleep_for(60s);
            return 0;
        });
        c.wait_ready();
        c.kill(SIGTERM);
        std::this_thread::sleep_for(50ms);
        c.kill(SIGTERM);
        CHECK(c.wait() == 128 + SIGTERM);
    }

    TEST_CASE("an ignored signal stays ignored (nohup)") {
        Child c({}, wait_for_stop, SIGHUP);
        c.wait_ready();
        c.kill(SIGHUP);
        std::this_thread::sleep_for(100ms);
        c.kill(SIGTERM);
        CHECK(c.wait() == 128 + SIGTERM);
    }

    TEST_CASE("SIGUSR1 prints one progress line, also with -q") {
        Child c({"-q"}, [](ToolContext& ctx) {
            ctx.progress().begin("uploading", 1000);
            ctx.progress().advance(500);
            return wait_for_stop(ctx);
        });
        c.wait_ready();
        c.kill(SIGUSR1);
        for (int i = 0; i < 500 && c.file("err").empty(); ++i)
            std::this_thread::sleep_for(10ms);
        CHECK(c.file("err").starts_with("zl-push: uploading 500 B of 1000 B, 50%"));
        c.kill(SIGTERM);
        CHECK(c.wait() == 128 + SIGTERM);
    }

    TEST_CASE("--timeout ends with 75 and says so") {
        Child c({"--timeout", "100ms"}, wait_for_stop);
        CHECK(c.wait() == 75);
        CHECK(c.file("err").starts_with("zl-push: not done after --timeout 100ms\nhint: "));
    }

    TEST_CASE("a closed pipe ends it silently with 141") {
        Child c({}, [](ToolContext& ctx) -> int {
            std::array<int, 2> fds{};
            if (::pipe(fds.data()) != 0)
                return 99;
            ::close(fds[0]);
            ::dup2(fds[1], 1);
            ctx.print("x");
            return 98;
        });
        CHECK(c.wait() == 128 + SIGPIPE);
        CHECK(c.file("err") == "");
        CHECK(c.exit_metric() == "141");
    }

    TEST_CASE("a program that the tool starts has the default signal handlers") {
        Child c({}, [](ToolContext&) {
            int status = std::system("kill -PIPE $$"); // NOLINT
            return WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE ? 0 : 99;
        });
        CHECK(c.wait() == 0);
    }

    TEST_CASE("a bad option obeys the log format and reaches the metrics") {
        Child c({"--log-format", "json", "--retry-for", "x"}, [](ToolContext&) { return 0; });
        CHECK(c.wait() == 64);
        CHECK(c.file("err").starts_with("{\"ts\":"));
        CHECK(c.exit_metric() == "64");
    }

    TEST_CASE("the state directory is made for its owner only") {
        const test::TempDir dir;
        Child c({"--state-dir", dir / "a"}, [](ToolContext& ctx) {
            ctx.print(ctx.state_dir());
            return 0;
        });
        CHECK(c.wait() == 0);
        CHECK(c.file("out") == dir / "a" + "\n");
        CHECK(std::filesystem::status(dir / "a").permissions() ==
              std::filesystem::perms::owner_all);
        Child bad({"--state-dir", "/dev/null/x"}, [](ToolContext& ctx) {
            ctx.state_dir();
            return 0;
        });
        CHECK(bad.wait() == 73);
        CHECK(bad.file("err").find("hint: set --state-dir") != std::string::npos);
    }
}
