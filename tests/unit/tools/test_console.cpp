#include "base/error.hpp"
#include "base/file.hpp"
#include "console.hpp"
#include "progress.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <array>

using namespace zl;
using namespace std::chrono_literals;

namespace {

/// A console that writes into a pipe.
class Captured {
public:
    Captured() {
        std::array<int, 2> fds{};
        REQUIRE(::pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) == 0);
        read_ = UniqueFd(fds[0]);
        write_ = UniqueFd(fds[1]);
        console.emplace("zl-test", write_.get());
    }
    std::string take() {
        std::array<char, 65536> buffer{};
        ssize_t n = ::read(read_.get(), buffer.data(), buffer.size());
        return n > 0 ? std::string(buffer.data(), static_cast<std::size_t>(n)) : std::string();
    }
    std::optional<Console> console;

private:
    UniqueFd read_, write_;
};

constexpr ProgressMeter::Clock::time_point at(Millis t) {
    return ProgressMeter::Clock::time_point(t + 1h);
}

} // namespace

TEST_SUITE("tools/console") {
    TEST_CASE("levels: warnings by default, errors only with -q, more with -v") {
        Captured c;
        c.console->info("info");
        CHECK(c.take() == "");
        c.console->warn("careful");
        CHECK(c.take() == "zl-test: careful\n");
        c.console->configure(LogFormat::text, LogLevel::error);
        c.console->warn("careful");
        CHECK(c.take() == "");
        c.console->failure(Error(ErrorKind::io, "broken", "mend it"), 74);
        CHECK(c.take() == "zl-test: broken\nhint: mend it\n");
        c.console->configure(LogFormat::text, LogLevel::debug);
        c.console->debug("one\ntwo");
        c.console->write(LogLevel::trace, "three");
        CHECK(c.take() == "zl-test: one\nzl-test: two\n");
    }

    TEST_CASE("control characters of file names do not reach the terminal") {
        Captured c;
        c.console->warn("file \x1b[2J\x07.txt");
        CHECK(c.take() == "zl-test: file \\x1b[2J\\x07.txt\n");
        c.console->warn("file \xc2\x9b" "31mRED");
        CHECK(c.take() == "zl-test: file \\xc2\\x9b31mRED\n");
    }

    TEST_CASE("JSON lines") {
        Captured c;
        c.console->configure(LogFormat::json, LogLevel::warning);
        c.console->warn("say \"x\" \xff\n");
        Json line = parse_json(c.take(), "line");
        CHECK(line["level"] == "warning");
        CHECK(line["tool"] == "zl-test");
        CHECK(line["ts"].get<std::string>().ends_with("Z"));
        CHECK(line["msg"].get<std::string>().starts_with("say \"x\" "));
        c.console->failure(Error(ErrorKind::data, "cut", "why"), 65);
        line = parse_json(c.take(), "line");
        CHECK(line["event"] == "failed");
        CHECK(line["exit"] == 65);
        CHECK(line["hint"] == "why");
    }

    TEST_CASE("a message takes the drawn line away and puts it back, without escape sequences") {
        Captured c;
        c.console->draw("12345");
        CHECK(c.take() == "\r12345");
        c.console->draw("678");
        CHECK(c.take() == "\r678  ");
        c.console->warn("hello");
        CHECK(c.take() == "\r   \rzl-test: hello\n678");
        c.console->draw("678");
        CHECK(c.take() == ""); // the same again would only flicker
        c.console->draw("");
        CHECK(c.take() == "\r   \r");
        c.console->warn("hello");
        CHECK(c.take() == "zl-test: hello\n");
    }

    TEST_CASE("what is drawn takes one column a byte, whatever a server said") {
        Captured c;
        c.console->draw("a\x1b[2J\xc3\xbc\n");
        CHECK(c.take() == "\ra?[2J???");
    }

    TEST_CASE("a notice is for a person: not in a log, unless it is asked for") {
        Captured c;
        c.console->notice("already stored");
        CHECK(c.take() == ""); // a pipe is no terminal
        c.console->configure(LogFormat::text, LogLevel::info);
        c.console->notice("already stored");
        CHECK(c.take() == "zl-test: already stored\n");
    }

    TEST_CASE("a request that is made again: a line at -v, and whoever shows progress is told") {
        Captured c;
        std::string told;
        c.console->on_retry([&](const RetryNotice& r) { told = r.why; });
        c.console->retrying({"put x", "503 SlowDown", 100ms, 10min});
        CHECK(told == "503 SlowDown");
        CHECK(c.take() == "");
        c.console->configure(LogFormat::text, LogLevel::info);
        c.console->retrying({"put x", "503 SlowDown", 2s, 10min});
        CHECK(c.take() == "zl-test: put x: 503 SlowDown, again in 2.0s\n");
    }
}

TEST_SUITE("tools/progress") {
    TEST_CASE("the line has bytes, percent, rate, time left and parts") {
        ProgressMeter m;
        CHECK_FALSE(m.started());
        m.begin("uploading", 100 << 20, at(0ms));
        m.advance(20 << 20);
        m.advance(10 << 20);
        m.advance(-(10 << 20)); // a part that is sent again
        m.items(3, 16);
        CHECK(m.started());
        CHECK(m.line(at(2s)) ==
              "uploading 20.0 MiB of 100.0 MiB, 20%, 10.0 MiB/s, ETA 8.0s, parts 3/16");
        Json f = m.fields(at(2s));
        CHECK(f["bytes"] == 20 << 20);
        CHECK(f["total_bytes"] == 100 << 20);
        CHECK(f["bytes_per_second"] == 10 << 20);
        CHECK(f["total_items"] == 16);
    }

    TEST_CASE("a narrow terminal: what matters least is left out, the rest is cut") {
        ProgressMeter m;
        m.begin("uploading", 100 << 20, at(0ms));
        m.items(3, 16);
        m.retrying({"put", "503", 1s, 60s}, at(1s));
        m.advance(20 << 20); // it went on
        const std::string full =
            "uploading 20.0 MiB of 100.0 MiB, 20%, 10.0 MiB/s, ETA 8.0s, parts "
            "3/16, retries 1";
        CHECK(m.line(at(2s)) == full);
        CHECK(m.line(at(2s), full.size()) == full);
        CHECK(m.line(at(2s), full.size() - 1) ==
              "uploading 20.0 MiB of 100.0 MiB, 20%, 10.0 MiB/s, ETA 8.0s, parts 3/16");
        CHECK(m.line(at(2s), 60) == "uploading 20.0 MiB of 100.0 MiB, 20%, 10.0 MiB/s, ETA 8.0s");
        CHECK(m.line(at(2s), 50) == "uploading 20.0 MiB, 20%, 10.0 MiB/s, ETA 8.0s");
        CHECK(m.line(at(2s), 39) == "uploading 20.0 MiB, 20%, ETA 8.0s");
        CHECK(m.line(at(2s), 20) == "uploading 20.0 MiB");
        CHECK(m.line(at(2s), 12) == "20.0 MiB");
        for (std::size_t width = 0; width < full.size() + 2; ++width)
            CHECK(m.line(at(2s), width).size() <= width);
    }

    TEST_CASE("while the store does not answer: why, and how long it is still tried") {
        ProgressMeter m;
        m.retrying({"list", "connection refused", 1s, 10min}, at(0s));
        CHECK(m.started()); // a person waits, although nothing has begun
        CHECK(m.line(at(0s)) ==
              "waiting for the store, connection refused, retrying for 10m00s more");
        m.begin("uploading", 100, at(1s));
        CHECK(m.line(at(2s)).find("retrying") == std::string::npos);
        m.advance(50);
        m.retrying({"put", "503 SlowDown", 1s, 9min}, at(2s));
        m.advance(-20); // taken back: it has to be sent again
        CHECK(m.line(at(12s)) ==
              "uploading 30 B of 100 B, 30%, 503 SlowDown, retrying for 8m50s more");
        CHECK(m.line(at(12s), 45) == "uploading 30 B, 30%, retrying for 8m50s more");
        CHECK(m.fields(at(12s))["retrying_seconds_left"] == 530);
        CHECK(m.line(at(1min)).find("retrying") == std::string::npos); // that attempt has ended
        m.retrying({"put", "503 SlowDown", 1s, 9min}, at(62s));
        CHECK(m.retries() == 3);
        m.advance(21);
        CHECK(m.line(at(63s)).ends_with("retries 3"));
        CHECK_FALSE(m.fields(at(63s)).contains("retrying"));
    }

    TEST_CASE("unknown total, nothing done, more than announced") {
        ProgressMeter m;
        m.begin("packing", std::nullopt, at(0ms));
        CHECK(m.line(at(0ms)) == "packing 0 B, 0 B/s");
        m.items(12, 0);
        CHECK(m.line(at(1s)) == "packing 12 files");
        m.advance(5);
        CHECK(m.line(at(1s)) == "packing 5 B, 5 B/s, 12 files");
        m.begin("checking", std::nullopt, at(1s));
        m.items(12, 0);
        CHECK(m.line(at(1s)) == "checking 12 objects");
        m.begin("x", 10, at(1s));
        m.advance(20);
        CHECK(m.line(at(2s)) == "x 20 B of 10 B, 100%, 20 B/s");
        m.begin("x", 0, at(1s));
        CHECK(m.line(at(2s)) == "x 0 B of 0 B, 0 B/s");
    }

    TEST_CASE("the rate is that of the last ten seconds") {
        ProgressMeter m;
        m.begin("x", std::nullopt, at(0s));
        for (int s = 1; s <= 20; ++s) {
            m.advance(1 << 20);
            m.sample(at(std::chrono::seconds(s)));
        }
        CHECK(m.line(at(20s)) == "x 20.0 MiB, 1.0 MiB/s");
        for (int s = 21; s <= 40; ++s)
            m.sample(at(std::chrono::seconds(s)));
        CHECK(m.line(at(40s)) == "x 20.0 MiB, 0 B/s"); // a stall shows
    }

    TEST_CASE("--progress, -q, terminal and place in the pipeline") {
        auto mode = [](const char* text, bool quiet, bool may_draw, bool last) {
            return progress_setting(text, quiet, may_draw, last).mode;
        };
        CHECK(mode("auto", false, true, true) == ProgressMode::drawn);
        CHECK(mode("auto", false, true, false) == ProgressMode::silent);
        CHECK(mode("auto", false, false, true) == ProgressMode::silent);
        CHECK(mode("always", false, true, false) == ProgressMode::drawn);
        CHECK(mode("always", false, false, true) == ProgressMode::lines);
        CHECK(mode("never", false, true, true) == ProgressMode::silent);
        CHECK(mode("30s", false, true, true) == ProgressMode::lines);
        for (const char* text : {"auto", "always", "30s"})
            CHECK(mode(text, true, true, true) == ProgressMode::silent);
        CHECK(progress_setting("30s", false, false, false).interval == 30s);
        CHECK_THROWS_AS(progress_setting("soon", false, false, false), Error);
        CHECK_THROWS_AS(progress_setting("1ms", true, false, false), Error);
    }

    TEST_CASE("plain lines come at the interval, and one at once when asked") {
        Captured c;
        ProgressDisplay d(*c.console);
        d.show_now();
        CHECK(c.take() == "zl-test: starting\n");
        d.begin("packing", std::nullopt);
        d.start(ProgressMode::lines, 100ms);
        ::usleep(350'000);
        d.stop();
        CHECK(c.take().starts_with("zl-test: packing 0 B, 0 B/s\nzl-test: packing"));
        ::usleep(150'000);
        CHECK(c.take() == "");
        d.show_now();
        CHECK(c.take().starts_with("zl-test: packing"));
    }
}
