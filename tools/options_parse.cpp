/// Options::parse: where each value comes from.
#include "base/error.hpp"
#include "base/file.hpp"
#include "nearest.hpp"
#include "options.hpp"

#include <unistd.h>

#include <algorithm>

namespace zl {

Outside Outside::of_process() {
    Outside outside;
    outside.environment = process_environment;
    for (char** entry = environ; entry && *entry; ++entry) {
        std::string_view text = *entry;
        outside.environment_names.emplace_back(text.substr(0, text.find('=')));
    }
    outside.config_files.push_back("/etc/zl/zl.conf");
    auto base = process_environment("XDG_CONFIG_HOME");
    auto home = process_environment("HOME");
    // The XDG specification: a relative path is to be ignored.
    if (base && base->starts_with("/"))
        outside.config_files.push_back(*base + "/zl/zl.conf");
    else if (home && home->starts_with("/"))
        outside.config_files.push_back(*home + "/.config/zl/zl.conf");
    return outside;
}

Config Options::read_config(const CommandLine& line, const Outside& outside) {
    std::vector<std::string> own_keys;
    std::string named;
    for (std::size_t i = 0; i < options_.size(); ++i) {
        if (options_[i].scope == Scope::everywhere)
            own_keys.push_back(options_[i].key);
        if (options_[i].key == "config" && !line.values[i].empty())
            named = line.values[i].back();
    }
    if (named.empty())
        named = outside.environment("ZL_CONFIG").value_or("");

    Config config;
    for (const std::string& path : named.empty() ? outside.config_files : Values{named}) {
        std::optional<std::string> text;
        try {
            text = read_file(path, 1 << 20);
        } catch (Error& e) {
            // HOME is often somebody else's (su, cron, containers): not ours to read.
            if (named.empty() && path != outside.config_files.front() &&
                e.kind() == ErrorKind::denied) {
                warnings_.push_back(e.message() + ", going on without it");
                continue;
            }
            // Without what the administrator has set, another store would be used.
            throw e.with_kind(ErrorKind::config);
        }
        if (text)
            merge_config(config, *text, path, tool_, own_keys);
        else if (!named.empty())
            throw Error(ErrorKind::config, "configuration file " + path + " does not exist");
    }
    return config;
}

void Options::resolve(Option& option, const Values& given, const Config& config,
                      const Outside& outside) {
    Values values = given;
    Origin origin = Origin::command_line;
    std::string where = "--" + option.key;
    if (values.empty() && option.scope == Scope::everywhere) {
        origin = Origin::environment;
        where = environment_name(option.key);
        std::string text = outside.environment(where).value_or("");
        for (std::size_t begin = 0; begin < text.size();) {
            std::size_t end = std::min(text.find('\n', begin), text.size());
            values.push_back(text.substr(begin, end - begin));
            begin = end + 1;
        }
    }
    if (auto found = config.find(option.key);
        values.empty() && option.scope == Scope::everywhere && found != config.end()) {
        origin = Origin::config;
        for (const ConfigValue& value : found->second)
            values.push_back(value.text);
        where = found->second.back().where;
    }
    if (values.empty())
        return;
    try {
        option.assign(values);
    } catch (Error& e) {
        if (origin == Origin::config)
            e.add_context(option.key);
        if (origin != Origin::command_line && e.kind() == ErrorKind::usage)
            e.with_kind(ErrorKind::config);
        throw e.add_context(where);
    }
    option.origin = origin;
    option.where = origin == Origin::command_line ? "option" : where;
}

void Options::take_operands(const CommandLine& line, bool required) {
    Values words = line.operands;
    if (line.after_dashes && command_)
        *command_ = *line.after_dashes;
    else if (line.after_dashes)
        words.insert(words.end(), line.after_dashes->begin(), line.after_dashes->end());
    if (!required)
        return;
    if (line.after_dashes && command_ && command_->empty())
        throw Error(ErrorKind::usage, "no command after --");
    if (words.size() > operands_max_)
        throw Error(ErrorKind::usage, "unexpected operand '" + words[operands_max_] + "'",
                    command_ ? "a command follows --" : "");
    if (words.size() < operands_min_)
        throw Error(ErrorKind::usage, "missing operand " + operand_name_);
    if (operands_)
        *operands_ = std::move(words);
}

void Options::check_environment(const Outside& outside) {
    std::vector<std::string> known{"CONFIG"};
    for (const std::string& key : known_keys())
        known.push_back(environment_name(key).substr(3));
    for (const std::string& name : outside.environment_names) {
        if (!name.starts_with("ZL_") ||
            std::find(known.begin(), known.end(), name.substr(3)) != known.end())
            continue;
        // Others may use the prefix too: only what looks like one of ours is worth a word.
        if (auto meant = nearest(name.substr(3), known))
            warnings_.push_back("environment variable " + name + " is unknown, did you mean ZL_" +
                                *meant + "?");
    }
}

Options::Outcome Options::parse(std::vector<std::string> arguments, const Outside& outside) {
    // Hidden, so no row of the table: it would complete itself.
    if (arguments == Values{"--print-options"})
        return Outcome::print_options;
    std::vector<OptionSyntax> syntax;
    for (const Option& option : options_)
        syntax.push_back({option.names, !option.value.empty()});
    CommandLine line = split_command_line(syntax, std::move(arguments));
    auto given = [&](std::string_view key) {
        for (std::size_t i = 0; i < options_.size(); ++i)
            if (options_[i].key == key)
                return !line.values[i].empty();
        return false;
    };
    // Help must work with a broken configuration.
    if (given("help"))
        return Outcome::help;
    if (given("version"))
        return Outcome::version;

    std::optional<Error> first;
    auto attempt = [&](auto step) {
        try {
            step();
        } catch (const Error& e) {
            if (!first)
                first = e;
        }
    };
    Config config;
    attempt([&] { config = read_config(line, outside); });
    for (std::size_t i = 0; i < options_.size(); ++i)
        attempt([&] { resolve(options_[i], line.values[i], config, outside); });
    attempt([&] { take_operands(line, !given("print-config")); });
    check_environment(outside);
    if (first)
        throw *first;
    return given("print-config") ? Outcome::print_config : Outcome::run;
}

} // namespace zl
