#include "base/child.hpp"
#include "base/error.hpp"

#include <doctest/doctest.h>

#include <signal.h>

#include <array>
#include <chrono>

using namespace zl;

namespace {

std::string output(Child& child) {
    std::array<std::byte, 4096> buffer{};
    return std::string(
        as_text(std::span(buffer).first(read_full(child.stdout_fd(), buffer, "child"))));
}

} // namespace

TEST_SUITE("base/child") {
    TEST_CASE("its stdout is ours, its arguments arrive as they are, its exit code too") {
        Child child({"sh", "-c", "printf '%s|' \"$@\"; exit 7", "sh", "a b", "", "*"});
        CHECK(output(child) == "a b||*|");
        CHECK(child.wait({}) == 7);
    }

    TEST_CASE("ended by a signal: 128+n") {
        Child child({"sh", "-c", "kill -TERM $$"});
        CHECK(child.wait({}) == 143);
    }

    TEST_CASE("a program that is not there, or may not be run") {
        CHECK_THROWS_AS(Child({"/nonexistent/program"}), Error);
        CHECK_THROWS_AS(Child({"/etc/passwd"}), Error);
    }

    TEST_CASE("signals that we ignore or block have their default in it") {
        auto before = ::signal(SIGPIPE, SIG_IGN);
        Child child({"sh", "-c", "kill -PIPE $$; echo survived"});
        CHECK(output(child) == "");
        CHECK(child.wait({}) == 128 + SIGPIPE);
        ::signal(SIGPIPE, before);
    }

    TEST_CASE("left running, it is ended, even if it ignores SIGTERM") {
        const auto start = std::chrono::steady_clock::now();
        { Child child({"sleep", "60"}); }
        CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
        {
            Child child({"sh", "-c", "trap '' TERM; echo ready; exec sleep 60"});
            std::array<std::byte, 6> ready{};
            CHECK(read_full(child.stdout_fd(), ready, "child") == 6);
        }
        CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
    }
}
