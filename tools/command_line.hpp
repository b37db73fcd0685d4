/// The command line taken apart into words. Only this module's .cpp includes CLI11: its own
/// configuration files, environment and exit codes break our rules (DESIGN: precedence, 64), so it
/// does nothing but split, and everything else is in options.hpp.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace zl {

struct OptionSyntax {
    std::string names; ///< `-o,--output`
    bool takes_value = false;
};

struct CommandLine {
    /// Per option in the order of the syntax: each value given. A flag gives `true`, or what
    /// followed its `=`.
    std::vector<std::vector<std::string>> values;
    std::vector<std::string> operands;
    /// What followed `--`, untouched; nullopt without `--`.
    std::optional<std::vector<std::string>> after_dashes;
};

/// @p arguments without the program's name. Options and operands may be mixed; `-` is an operand;
/// long options are never abbreviated. Throws usage for an unknown option (naming the nearest) and
/// for a missing value.
CommandLine split_command_line(const std::vector<OptionSyntax>& syntax,
                               std::vector<std::string> arguments);

} // namespace zl
