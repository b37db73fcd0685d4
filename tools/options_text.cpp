/// Options::help_text, config_text and options_text: what --help and its kin print.
#include "options.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr std::size_t kHelpColumn = 28;
constexpr std::size_t kWidth = 80;

/// `  -o, --output FILE`
std::string left_column(const std::string& names, const std::string& value) {
    std::string out = "  ";
    if (names.starts_with("--"))
        out += "    " + names;
    else
        out += names.substr(0, 2) + ", " + names.substr(3);
    return value.empty() ? out : out + " " + value;
}

void append_wrapped(std::string& out, std::string left, const std::string& help) {
    if (left.size() + 2 > kHelpColumn) {
        out += left + "\n";
        left.clear();
    }
    left.resize(kHelpColumn, ' ');
    std::string line = left;
    for (std::size_t at = 0; at < help.size();) {
        std::size_t end = std::min(help.find(' ', at), help.size());
        if (line.size() + (end - at) > kWidth && line.size() > kHelpColumn) {
            out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
            line.assign(kHelpColumn, ' ');
        }
        line += help.substr(at, end - at) + " ";
        at = end + 1;
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

std::string quoted(const std::string& value) {
    if (!value.empty() && value.find_first_of(" \t#\"'") == std::string::npos)
        return value;
    const char quote = value.find('"') == std::string::npos ? '"' : '\'';
    return quote + value + quote;
}

} // namespace

std::string Options::help_text() const {
    std::string out = "usage: " + tool_ + " " + usage_ + "\n\n";
    if (!examples_.empty()) {
        out += "EXAMPLES\n";
        for (const std::string& example : examples_)
            out += "  " + example + "\n";
        out += "\n";
    }
    out += summary_ + "\n";
    std::string group;
    for (const Option& option : options_) {
        if (option.group != group) {
            group = option.group;
            out += "\n" + group + ":\n";
        }
        std::string help = option.help;
        if (!option.initial.empty())
            help += " (" + option.initial + ")";
        append_wrapped(out, left_column(option.names, option.value), help);
    }
    out += "\nMost options can also be set as ZL_NAME in the environment and in zl.conf;\n"
           "--print-config lists them. Manual: " +
           tool_ + "(1), zl(7)\n";
    return out;
}

std::string Options::config_text() const {
    std::string out = "[" + tool_ + "]\n";
    for (const Option& option : options_) {
        if (option.scope != Scope::everywhere)
            continue;
        const std::string source =
            option.origin == Origin::built_in ? "default" : "from " + option.where;
        Values values = option.show();
        if (values.empty())
            out += "# " + option.key + " is not set  # " + source + "\n";
        for (const std::string& value : values)
            out += option.key + " = " + quoted(value) + "  # " + source + "\n";
    }
    return out;
}

std::string Options::options_text() const {
    std::string out;
    if (operands_)
        out += "operand\t" + operand_name_ + "\n";
    if (command_)
        out += "command\n";
    for (const Option& o : options_)
        out += "option\t" + o.names + "\t" + o.value + (o.repeatable ? "\t1\t" : "\t0\t") + o.help +
               "\n";
    return out;
}

} // namespace zl
