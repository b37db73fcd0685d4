#include "base/error.hpp"
#include "base/file.hpp"
#include "common_options.hpp"
#include "nearest.hpp"
#include "options.hpp"
#include "tool.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <map>

using namespace zl;
using namespace std::chrono_literals;

namespace {

/// A file that is gone at the end of the test.
class TempFile {
public:
    explicit TempFile(std::string_view text) {
        int fd = ::mkstemp(path_.data());
        REQUIRE(fd >= 0);
        write_full(fd, as_bytes(text), path_);
        ::close(fd);
    }
    ~TempFile() { ::unlink(path_.c_str()); }
    const std::string& path() const { return path_; }

private:
    std::string path_ = "/tmp/zl-test-options.XXXXXX";
};

/// A small zl-push and the world around it.
struct Fixture {
    std::string name = "none";
    std::uint64_t part_size = 64 << 20;
    std::uint64_t rate = 0;
    int jobs = 4, verbose = 0;
    bool quiet = false, force = false, print_config = false, help = false;
    Millis retry_for{10min};
    std::string log_format = "auto", store, config;
    std::vector<std::string> exclude, operands, command;
    std::map<std::string, std::string> environment;
    std::vector<std::string> config_files;
    Options options{"zl-push"};

    Fixture() {
        options.usage("[OPTION]... [-- CMD]");
        options.text("--name", "NAME", name, "the name");
        options.size("--part-size", part_size, "part size");
        options.rate("--bwlimit", rate, "rate");
        options.number("--jobs", jobs, 1, 64, "jobs");
        options.count("-v,--verbose", verbose, "more");
        options.flag("-q,--quiet", quiet, "less");
        options.flag("--force", force, "force", Scope::command_line);
        options.duration("--retry-for", retry_for, "retry");
        options.choice("--log-format", {"auto", "text", "json"}, log_format, "format");
        options.list("--exclude", "GLOB", exclude, "exclude");
        options.text("--config", "FILE", config, "config", Scope::command_line);
        options.flag("--print-config", print_config, "print", Scope::command_line);
        options.flag("-h,--help", help, "help", Scope::command_line);
        options.operands("DIR", operands, 0, 2);
    }

    Options::Outcome parse(std::vector<std::string> arguments) {
        Outside outside;
        outside.environment = [this](const std::string& n) -> std::optional<std::string> {
            auto found = environment.find(n);
            if (found == environment.end())
                return std::nullopt;
            return found->second;
        };
        for (const auto& [n, value] : environment)
            outside.environment_names.push_back(n);
        outside.config_files = config_files;
        return options.parse(std::move(arguments), outside);
    }

    /// `64 message|hint` of the error; empty if there is none.
    std::string failure(std::vector<std::string> arguments) {
        try {
            parse(std::move(arguments));
        } catch (const Error& e) {
            return std::to_string(exit_code(e.kind())) + " " + e.message() + "|" + e.hint();
        }
        return {};
    }
};

using Words = std::vector<std::string>;

} // namespace

TEST_SUITE("tools/options") {
    TEST_CASE("defaults stay without any source") {
        Fixture f;
        CHECK(f.parse({}) == Options::Outcome::run);
        CHECK(f.name == "none");
        CHECK(f.part_size == 64 << 20);
        CHECK_FALSE(f.options.given("name"));
    }

    TEST_CASE("option over environment over tool's section over file over earlier file") {
        TempFile first("name = first\njobs = 1\npart_size = 1MiB\nretry-for = 1s\nquiet = yes\n");
        TempFile second("name = second\njobs = 2\npart-size = 2MiB\n[zl-pull]\njobs = 50\n"
                        "[zl-push]\nname = section\n");
        Fixture f;
        f.config_files = {first.path(), "/nonexistent/zl.conf", second.path()};
        f.environment = {{"ZL_JOBS", "3"}, {"ZL_PART_SIZE", "3MiB"}};
        f.parse({"--part-size", "4MiB"});
        CHECK(f.part_size == 4 << 20);
        CHECK(f.jobs == 3);
        CHECK(f.name == "section");
        CHECK(f.retry_for == 1s);
        CHECK(f.quiet);
        CHECK(f.options.from_config("name"));
        CHECK_FALSE(f.options.from_config("jobs"));
    }

    TEST_CASE("--config and ZL_CONFIG read one file instead of the usual ones") {
        TempFile usual("name = usual\n"), named("name = named\n"), other("name = other\n");
        Fixture f;
        f.config_files = {usual.path()};
        f.environment = {{"ZL_CONFIG", named.path()}};
        f.parse({});
        CHECK(f.name == "named");
        f.parse({"--config", other.path()});
        CHECK(f.name == "other");
        CHECK(f.failure({"--config", "/nonexistent/zl.conf"}).starts_with("78 "));
    }

    TEST_CASE("an empty variable counts as not set") {
        Fixture f;
        f.environment = {{"ZL_JOBS", ""}, {"ZL_CONFIG", ""}};
        f.parse({});
        CHECK(f.jobs == 4);
    }

    TEST_CASE("bad values: 64 from the command line, 78 from elsewhere, with the place") {
        TempFile file("\njobs = many\n");
        Fixture f;
        CHECK(f.failure({"--jobs", "0"}).starts_with("64 --jobs: bad value '0'"));
        CHECK(f.failure({"--jobs", "65"}).starts_with("64 "));
        CHECK(f.failure({"--jobs", "4x"}).starts_with("64 "));
        CHECK(f.failure({"--part-size", "big"}).starts_with("64 --part-size: bad size 'big'"));
        CHECK(f.failure({"--log-format", "xml"}).starts_with("64 --log-format: bad value 'xml'"));
        CHECK(f.failure({"--quiet=perhaps"}).starts_with("64 "));
        f.environment = {{"ZL_JOBS", "x"}};
        CHECK(f.failure({}).starts_with("78 ZL_JOBS: bad value 'x'"));
        CHECK(f.failure({"--jobs", "3"}) == ""); // what is overridden is not looked at
        f.environment.clear();
        f.config_files = {file.path()};
        CHECK(f.failure({}).starts_with("78 " + file.path() + ":2: jobs: bad value 'many'"));
    }

    TEST_CASE("after a bad value the others are still filled in") {
        Fixture f;
        CHECK(f.failure({"--jobs", "x", "--log-format", "json"}) != "");
        CHECK(f.log_format == "json");
    }

    TEST_CASE("unknown options name the nearest one") {
        Fixture f;
        CHECK(f.failure({"--nmae", "x"}) == "64 unknown option --nmae|did you mean --name?");
        CHECK(f.failure({"--part_size=3"}) ==
              "64 unknown option --part_size|did you mean --part-size?");
        CHECK(f.failure({"-name"}) == "64 unknown option -name|did you mean --name?");
        CHECK(f.failure({"--zzz"}) == "64 unknown option --zzz|");
        CHECK(f.failure({"-x"}) == "64 unknown option -x|");
        CHECK(f.failure({"--nam", "x"}).starts_with("64 unknown option --nam|")); // no abbreviation
    }

    TEST_CASE("values: empty ones, brackets, dashes, `=`, attached to a short option") {
        Fixture f;
        f.parse({"--name=", "operand"});
        CHECK(f.name == "");
        CHECK(f.operands == Words{"operand"});
        f.parse({"--exclude", "[a,b]", "--exclude=[c,d]", "--exclude", "-x", "--exclude=k=v="});
        CHECK(f.exclude == Words{"[a,b]", "[c,d]", "-x", "k=v="});
        f.parse({"--name", "a", "--name=b"});
        CHECK(f.name == "b");
        CHECK(f.failure({"--name"}) == "64 option --name needs a value|");
        f.parse({"--bwlimit", "10MiB/s"});
        CHECK(f.rate == 10 << 20);
    }

    TEST_CASE("flags count, and can be turned off again") {
        TempFile file("quiet = true\nverbose = 1\n");
        Fixture f;
        f.config_files = {file.path()};
        f.parse({"-vvv", "--quiet=false"});
        CHECK(f.verbose == 3);
        CHECK_FALSE(f.quiet);
        f.environment = {{"ZL_VERBOSE", "2"}, {"ZL_QUIET", "0"}};
        f.parse({});
        CHECK(f.verbose == 2);
        CHECK_FALSE(f.quiet);
    }

    TEST_CASE("operands: mixed with options, `-`, and after --") {
        Fixture f;
        f.parse({"a", "--jobs", "2", "-"});
        CHECK(f.operands == Words{"a", "-"});
        CHECK(f.jobs == 2);
        f.parse({"--", "--jobs", "[a,b]"});
        CHECK(f.operands == Words{"--jobs", "[a,b]"});
        CHECK(f.failure({"a", "b", "c"}) == "64 unexpected operand 'c'|");
    }

    TEST_CASE("a command after -- arrives untouched") {
        Fixture f;
        f.options.command(f.command);
        f.parse({"--jobs", "2", "--", "tar", "--jobs=9", "--", "", "-h"});
        CHECK(f.command == Words{"tar", "--jobs=9", "--", "", "-h"});
        CHECK(f.jobs == 2);
        CHECK(f.failure({"--"}) == "64 no command after --|");
    }

    TEST_CASE("missing operands are named, but not missed by --print-config") {
        Fixture f;
        f.options.operands("DIR", f.operands, 1, 1);
        CHECK(f.failure({}) == "64 missing operand DIR|");
        CHECK(f.parse({"--print-config"}) == Options::Outcome::print_config);
    }

    TEST_CASE("options of one run cannot come from environment or file") {
        TempFile file("force = true\n");
        Fixture f;
        f.environment = {{"ZL_FORCE", "true"}};
        f.parse({});
        CHECK_FALSE(f.force);
        f.config_files = {file.path()};
        CHECK(f.failure({}).starts_with("78 "));
    }

    TEST_CASE("lists: replaced as a whole; one per line in the environment") {
        TempFile file("exclude = a\nexclude = b\n");
        Fixture f;
        f.config_files = {file.path()};
        f.parse({});
        CHECK(f.exclude == Words{"a", "b"});
        f.environment = {{"ZL_EXCLUDE", "c\nd e"}};
        f.parse({});
        CHECK(f.exclude == Words{"c", "d e"});
        f.parse({"--exclude", "x"});
        CHECK(f.exclude == Words{"x"});
    }

    TEST_CASE("misspelt ZL_ variables are named, foreign and sibling ones are not") {
        Fixture f;
        f.environment = {{"ZL_PART_SZIE", "1"},
                         {"ZL_LEVEL", "19"},
                         {"ZL_SOMETHING_ELSE", "1"},
                         {"ZL_CRASH_AT", "x"},
                         {"PATH", "/bin"}};
        f.parse({});
        REQUIRE(f.options.warnings().size() == 1);
        CHECK(f.options.warnings()[0].find("did you mean ZL_PART_SIZE?") != std::string::npos);
    }

    TEST_CASE("help comes out of a broken configuration") {
        TempFile file("nonsense\n");
        Fixture f;
        f.config_files = {file.path()};
        CHECK(f.parse({"-h", "--jobs", "x"}) == Options::Outcome::help);
        CHECK(f.options.help_text().find("--part-size SIZE") != std::string::npos);
        CHECK(f.options.help_text().find("(64MiB)") != std::string::npos);
    }

    TEST_CASE("what --print-config prints is a configuration file with the same values") {
        Fixture f;
        f.parse({"--name", "a # \"b\"", "--exclude", "x y", "--exclude", "", "--jobs", "7",
                 "--retry-for", "1500ms", "--part-size", "3000", "-vv"});
        TempFile file(f.options.config_text());
        Fixture g;
        g.config_files = {file.path()};
        g.parse({});
        CHECK(g.name == f.name);
        CHECK(g.exclude == f.exclude);
        CHECK(g.jobs == 7);
        CHECK(g.retry_for == 1500ms);
        CHECK(g.part_size == 3000);
        CHECK(g.verbose == 2);
        CHECK(f.options.config_text().find("jobs = 7  # from option") != std::string::npos);
        CHECK(f.options.config_text().find("bwlimit = 0  # default") != std::string::npos);
    }

    TEST_CASE("the table for completions") {
        Fixture f;
        f.environment = {{"ZL_JOBS", "bad"}}; // concerns no build
        CHECK(f.parse({"--print-options"}) == Options::Outcome::print_options);
        const std::string table = f.options.options_text();
        CHECK(table.starts_with("operand\tDIR\noption\t--name\tNAME\t0\tthe name\n"));
        CHECK(table.find("\noption\t-v,--verbose\t\t1\tmore\n") != std::string::npos);
        CHECK(table.find("\noption\t--log-format\tauto|text|json\t0\tformat\n") !=
              std::string::npos);
        CHECK(table.find("\noption\t--exclude\tGLOB\t1\texclude\n") != std::string::npos);
        CHECK(table.find("command") == std::string::npos);
        f.options.command(f.command);
        CHECK(f.options.options_text().find("\ncommand\n") != std::string::npos);
        CHECK(f.failure({"--print-options", "-q"}).starts_with("64 "));
        f.environment.clear();
        CHECK(f.failure({"--", "--print-options"}).empty()); // CMD's own
    }

    TEST_CASE("a configurable option has to be in the table of known keys") {
        Options options("zl-push");
        std::string target;
        CHECK_THROWS_AS(options.text("--brand-new", "X", target, "help"), Error);
        CHECK_NOTHROW(options.text("--brand-old", "X", target, "help", Scope::command_line));
    }

    TEST_CASE("sizes and durations as text lose nothing") {
        for (std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1023},
                                std::uint64_t{64} << 20, std::uint64_t{3} << 50, ~std::uint64_t{0}})
            CHECK(parse_size(exact_size(n)) == n);
        CHECK(exact_size(64 << 20) == "64MiB");
        for (long long n : {0, 1, 999, 1000, 90'000, 3'600'000, 604'800'000})
            CHECK(parse_duration(exact_duration(Millis(n))) == Millis(n));
        CHECK(exact_duration(Millis(600'000)) == "10m");
    }

    TEST_CASE("defaults by user") {
        std::map<std::string, std::string> vars{{"HOME", "/home/u"}};
        Environment env = [&](const std::string& n) -> std::optional<std::string> {
            return vars.count(n) ? std::optional(vars[n]) : std::nullopt;
        };
        CHECK(default_store(env, true) == "file:///var/lib/zl/store");
        CHECK(default_store(env, false) == "file:///home/u/.local/share/zl/store");
        CHECK(default_state_dir(env, true) == "/var/lib/zl");
        CHECK(default_state_dir(env, false) == "/home/u/.local/state/zl");
        vars["XDG_DATA_HOME"] = "/data";
        vars["XDG_STATE_HOME"] = "relative"; // to be ignored, says the specification
        CHECK(default_store(env, false) == "file:///data/zl/store");
        CHECK(default_state_dir(env, false) == "/home/u/.local/state/zl");
        vars.clear();
        CHECK(default_store(env, false) == "");
    }

    TEST_CASE("nearest names") {
        const std::vector<std::string> names{"name", "jobs", "part-size", "spool-dir"};
        CHECK(nearest("nmae", names) == "name");
        CHECK(nearest("job", names) == "jobs");
        CHECK(nearest("partsize", names) == "part-size");
        CHECK(nearest("spool-directory", names) == std::nullopt);
        CHECK(nearest("bad", names) == std::nullopt);
        CHECK(nearest("", names) == std::nullopt);
    }
}
