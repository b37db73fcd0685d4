#include "command_line.hpp"

#include "base/error.hpp"
#include "nearest.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>

namespace zl {

namespace {

std::vector<std::string> long_names(const std::vector<OptionSyntax>& syntax) {
    std::vector<std::string> names;
    for (const OptionSyntax& option : syntax)
        if (auto at = option.names.find("--"); at != std::string::npos)
            names.push_back(option.names.substr(at));
    return names;
}

[[noreturn]] void unknown_option(const std::string& word, const std::vector<OptionSyntax>& syntax) {
    std::string name = word.substr(0, word.find('='));
    std::string hint;
    // Compared without dashes: `-name` means --name, and the dashes shall not count as likeness.
    std::vector<std::string> known;
    for (const std::string& option : long_names(syntax))
        known.push_back(option.substr(2));
    const std::size_t letters = name.find_first_not_of('-');
    if (letters != std::string::npos && name.size() - letters > 1)
        if (auto meant = nearest(name.substr(letters), known))
            hint = "did you mean --" + *meant + "?";
    throw Error(ErrorKind::usage, "unknown option " + name, hint);
}

/// CLI11 takes `--name=` for a missing value and eats the next word: give it the empty value as a
/// word of its own.
void split_empty_values(std::vector<std::string>& words, const std::vector<OptionSyntax>& syntax) {
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (!words[i].starts_with("--") || !words[i].ends_with("=") ||
            words[i].find('=') + 1 != words[i].size())
            continue;
        std::string name = words[i].substr(0, words[i].size() - 1);
        for (const OptionSyntax& option : syntax)
            if (option.takes_value && option.names.ends_with(name) &&
                long_names({option}) == std::vector<std::string>{name}) {
                words[i] = name;
                words.insert(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, "");
                break;
            }
    }
}

} // namespace

CommandLine split_command_line(const std::vector<OptionSyntax>& syntax,
                               std::vector<std::string> arguments) {
    CommandLine result;
    // Cut here, not by CLI11: a command's own `--` and options must arrive as they are.
    if (auto dashes = std::find(arguments.begin(), arguments.end(), "--");
        dashes != arguments.end()) {
        result.after_dashes.emplace(dashes + 1, arguments.end());
        arguments.erase(dashes, arguments.end());
    }
    split_empty_values(arguments, syntax);

    CLI::App app;
    app.set_help_flag();
    app.allow_extras();
    std::vector<CLI::Option*> options;
    for (const OptionSyntax& option : syntax) {
        // Empty callbacks and results(): no conversion, which would split `[a,b]` into a list.
        CLI::Option* o = option.takes_value
                             ? app.add_option(option.names, [](const auto&) { return true; })
                             : app.add_flag(option.names);
        options.push_back(o->multi_option_policy(CLI::MultiOptionPolicy::TakeAll));
    }
    std::reverse(arguments.begin(), arguments.end()); // parse() pops from the back
    try {
        app.parse(arguments);
    } catch (const CLI::ArgumentMismatch& e) {
        std::string name = e.what();
        throw Error(ErrorKind::usage,
                    "option " + name.substr(0, name.find(':')) + " needs a value");
    } catch (const CLI::Error& e) {
        throw Error(ErrorKind::usage, e.what());
    }
    for (const CLI::Option* option : options)
        result.values.push_back(option->results());
    for (std::string& word : app.remaining()) {
        if (word.size() > 1 && word[0] == '-')
            unknown_option(word, syntax);
        result.operands.push_back(std::move(word));
    }
    return result;
}

} // namespace zl
