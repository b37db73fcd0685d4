#include "../temp_dir.hpp"
#include "base/file.hpp"
#include "metrics.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>

using namespace zl;
using namespace std::chrono_literals;

namespace {

const TimePoint kStart = parse_time("2026-11-22T06:00:00Z");

Metrics::Run run(Millis after, int code) {
    return {kStart + after, kStart + after + 1500ms, code};
}

bool has(const std::string& text, const std::string& line) {
    return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

} // namespace

TEST_SUITE("tools/metrics") {
    TEST_CASE("a good run, with values of the tool's own") {
        Metrics m("zl-push");
        m.set_name("web\"1");
        m.set("zl_bytes_total", 5, "Bytes.", {{"direction", "sent"}});
        m.set("zl_other", 1.5, "Other.");
        m.set("zl_bytes_total", 6, "Bytes.", {{"direction", "received"}});
        m.set("zl_bytes_total", 7, "Bytes.", {{"direction", "sent"}});
        std::string text = m.render(run(0s, 0), "");
        CHECK(has(
            text,
            "zl_last_run_timestamp_seconds{tool=\"zl-push\",name=\"web\\\"1\"} 1795327201.500"));
        CHECK(has(text, "zl_last_success_timestamp_seconds{tool=\"zl-push\",name=\"web\\\"1\"} "
                        "1795327201.500"));
        CHECK(has(text, "zl_last_exit_code{tool=\"zl-push\",name=\"web\\\"1\"} 0"));
        CHECK(has(text, "zl_duration_seconds{tool=\"zl-push\",name=\"web\\\"1\"} 1.500"));
        CHECK(has(text,
                  "# TYPE zl_bytes_total counter\n"
                  "zl_bytes_total{tool=\"zl-push\",name=\"web\\\"1\",direction=\"sent\"} 7\n"
                  "zl_bytes_total{tool=\"zl-push\",name=\"web\\\"1\",direction=\"received\"} 6"));
        CHECK(
            has(text, "# TYPE zl_other gauge\nzl_other{tool=\"zl-push\",name=\"web\\\"1\"} 1.500"));
        CHECK(has(text, "zl_build_info{tool=\"zl-push\",name=\"web\\\"1\",version=\"" ZL_VERSION
                        "\"} 1"));
    }

    TEST_CASE("a failed run keeps the last success, an incomplete one is one") {
        Metrics m("zl-push");
        m.set_name("web1");
        const std::string success =
            "zl_last_success_timestamp_seconds{tool=\"zl-push\",name=\"web1\"} ";
        std::string text = m.render(run(0s, 0), "");
        text = m.render(run(1h, 75), text);
        CHECK(has(text, success + "1795327201.500"));
        CHECK(has(text, "zl_last_exit_code{tool=\"zl-push\",name=\"web1\"} 75"));
        text = m.render(run(2h, 143), text);
        CHECK(has(text, success + "1795327201.500"));
        text = m.render(run(3h, 3), text);
        CHECK(has(text, success + "1795338001.500"));
    }

    TEST_CASE("without any success there is no sample of it, and none of another name is taken") {
        Metrics m("zl-push"), other("zl-push");
        m.set_name("web1");
        other.set_name("web2");
        std::string text = m.render(run(0s, 75), other.render(run(0s, 0), ""));
        CHECK(text.find("zl_last_success") == std::string::npos);
    }

    TEST_CASE("the file is replaced as a whole") {
        const test::TempDir dir;
        Metrics m("zl-pull");
        m.write(dir / "m.prom", run(0s, 0));
        m.write(dir / "m.prom", run(1h, 65));
        std::string text = read_file(dir / "m.prom").value_or("");
        CHECK(has(text,
                  "zl_last_success_timestamp_seconds{tool=\"zl-pull\",name=\"\"} 1795327201.500"));
        CHECK(dir.names() == std::vector<std::string>{"m.prom"}); // nothing else was left
    }
}
