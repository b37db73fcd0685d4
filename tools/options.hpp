/// The options of a tool: declared once, each with its target variable; then filled from
/// option > ZL_* > configuration file > default, where the default is what the target holds when it
/// is declared.
#pragma once

#include "base/units.hpp"
#include "command_line.hpp"
#include "config.hpp"
#include "store/open_store.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace zl {

/// Where a value may come from. command_line is for what belongs to a single run (-o, --force).
enum class Scope { everywhere, command_line };

/// What surrounds the process; a test makes its own.
struct Outside {
    Environment environment;
    /// Names of all variables, for the spelling check of ZL_*.
    std::vector<std::string> environment_names;
    /// Read if they exist and no --config says otherwise; later ones override. The first is the
    /// system's: it has to be readable; of the others it is only warned.
    std::vector<std::string> config_files;

    static Outside of_process();
};

/// Targets must outlive parse(). A bad value throws usage if it came from the command line and
/// config if it came from elsewhere, and says from where.
class Options {
public:
    /// @p tool `zl-push`.
    explicit Options(std::string tool);

    // What --help prints around the options.
    void usage(std::string line) { usage_ = std::move(line); }
    void summary(std::string text) { summary_ = std::move(text); }
    void example(std::string line) { examples_.push_back(std::move(line)); }
    /// Options declared from now on stand under this title.
    void group(std::string title) { group_ = std::move(title); }

    // @p names `-o,--output`; @p value the word for the value in --help.
    void flag(std::string names, bool& target, std::string help, Scope = Scope::everywhere);
    void count(std::string names, int& target, std::string help, Scope = Scope::everywhere);
    void text(std::string names, std::string value, std::string& target, std::string help,
              Scope = Scope::everywhere);
    /// @p check throws usage for a bad value.
    void checked(std::string names, std::string value, std::string& target,
                 std::function<void(const std::string&)> check, std::string help,
                 Scope = Scope::everywhere);
    void choice(std::string names, std::vector<std::string> choices, std::string& target,
                std::string help, Scope = Scope::everywhere);
    /// A flag that may be given one of @p choices: `--check` is the first of them, `--check=full`
    /// says which. @p target stays empty without it.
    void choosing_flag(std::string names, std::vector<std::string> choices, std::string& target,
                       std::string help, Scope = Scope::everywhere);
    /// Repeatable on the command line and in a file; in the environment one value per line.
    void list(std::string names, std::string value, std::vector<std::string>& target,
              std::string help, Scope = Scope::everywhere);
    void number(std::string names, int& target, int min, int max, std::string help,
                Scope = Scope::everywhere);
    void size(std::string names, std::uint64_t& target, std::string help,
              Scope = Scope::everywhere);
    /// A size per second; `/s` may follow. 0 = unlimited.
    void rate(std::string names, std::uint64_t& target, std::string help,
              Scope = Scope::everywhere);
    void duration(std::string names, Millis& target, std::string help, Scope = Scope::everywhere);

    /// @p name as in the usage line. Without this call any operand is an error.
    void operands(std::string name, std::vector<std::string>& target, std::size_t min,
                  std::size_t max = SIZE_MAX);
    /// Accept `-- CMD ARG...`; what follows `--` is kept as it is. Without this call words after
    /// `--` are operands.
    void command(std::vector<std::string>& target) { command_ = &target; }

    enum class Outcome { run, help, version, print_config, print_options };
    /// Fills the targets, unless the answer is only text. After a bad value the others are still
    /// filled (so that --metrics is known) before the first error is thrown.
    Outcome parse(std::vector<std::string> arguments, const Outside& outside);

    /// What parse() met that is worth a warning: misspelt ZL_* variables, unreadable files.
    const std::vector<std::string>& warnings() const { return warnings_; }
    std::string help_text() const;
    /// Every configurable option with its value and where it came from; itself a valid file.
    std::string config_text() const;
    /// What shell completions are made from (`--print-options`, which only the build uses), one
    /// line each: `operand WORD`, `command` if `-- CMD` is taken, `option NAMES VALUE REPEATABLE
    /// HELP`, with tabs between. VALUE is empty for a flag, REPEATABLE is 0 or 1.
    std::string options_text() const;
    /// True when @p name was given anywhere (not the default); @p name without dashes.
    bool given(std::string_view name) const;
    /// True when the value came from a configuration file (AWS_* stands above those).
    bool from_config(std::string_view name) const;
    /// The value as text; empty if there is no such option.
    std::string value(std::string_view name) const;

private:
    using Values = std::vector<std::string>;
    enum class Origin { built_in, config, environment, command_line };
    struct Option {
        std::string names{}; ///< `-o,--output`
        std::string key{};   ///< `output`
        std::string value{}; ///< word in --help; empty = flag
        std::string help{};
        std::string group{};
        std::string initial{}; ///< default as text, for --help
        Scope scope = Scope::everywhere;
        bool repeatable = false; ///< worth giving more than once
        std::function<void(const Values&)> assign{};
        std::function<Values()> show{};
        Origin origin = Origin::built_in;
        std::string where{};
    };

    void add(Option option, Scope scope);
    const Option* find(std::string_view key) const;
    Config read_config(const CommandLine& line, const Outside& outside);
    void resolve(Option& option, const Values& given, const Config& config, const Outside& outside);
    void take_operands(const CommandLine& line, bool required);
    void check_environment(const Outside& outside);

    std::string tool_, usage_, summary_, group_;
    std::vector<std::string> examples_, warnings_;
    std::vector<Option> options_;
    std::string operand_name_;
    Values* operands_ = nullptr;
    std::size_t operands_min_ = 0, operands_max_ = 0;
    Values* command_ = nullptr;
};

/// `64MiB`, `1000`: as short as it goes without losing a byte.
std::string exact_size(std::uint64_t bytes);
/// `10m`, `1500ms`.
std::string exact_duration(Millis d);

} // namespace zl
