#include "options.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace zl {

namespace {

std::string key_of(const std::string& names) {
    return names.substr(names.find("--") + 2);
}

bool parse_flag(const std::string& text) {
    for (const char* yes : {"true", "yes", "on", "1"})
        if (text == yes)
            return true;
    for (const char* no : {"false", "no", "off", "0"})
        if (text == no)
            return false;
    throw Error(ErrorKind::usage, "bad value '" + text + "', expected true or false");
}

int parse_number(const std::string& text, int min, int max) {
    int number = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code != std::errc() || end != text.data() + text.size() || number < min || number > max)
        throw Error(ErrorKind::usage, "bad value '" + text + "', expected " + std::to_string(min) +
                                          " to " + std::to_string(max));
    return number;
}

std::string join(const std::vector<std::string>& words, const char* between) {
    std::string out;
    for (const std::string& word : words)
        out += (out.empty() ? "" : between) + word;
    return out;
}

} // namespace

std::string exact_size(std::uint64_t bytes) {
    static constexpr std::array<const char*, 5> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
    std::string unit;
    for (const char* next : kUnits) {
        if (bytes == 0 || bytes % 1024 != 0)
            break;
        bytes /= 1024;
        unit = next;
    }
    return std::to_string(bytes) + unit;
}

std::string exact_duration(Millis d) {
    struct Unit {
        const char* name;
        long long millis;
    };
    static constexpr std::array<Unit, 4> kUnits{
        {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}}};
    if (d.count() == 0)
        return "0s";
    for (const Unit& unit : kUnits)
        if (d.count() % unit.millis == 0)
            return std::to_string(d.count() / unit.millis) + unit.name;
    return std::to_string(d.count()) + "ms";
}

Options::Options(std::string tool) : tool_(std::move(tool)) {}

void Options::add(Option option, Scope scope) {
    option.key = key_of(option.names);
    option.group = group_;
    option.scope = scope;
    if (!option.value.empty())
        option.initial = join(option.show(), ", ");
    // A configurable key that the siblings do not know would be an error in their eyes.
    const auto& known = known_keys();
    if (scope == Scope::everywhere &&
        std::find(known.begin(), known.end(), option.key) == known.end())
        throw Error(ErrorKind::internal, "option --" + option.key + " is missing in known_keys()");
    options_.push_back(std::move(option));
}

void Options::flag(std::string names, bool& target, std::string help, Scope scope) {
    Option o{.names = std::move(names), .help = std::move(help)};
    o.assign = [&target](const Values& v) { target = parse_flag(v.back()); };
    o.show = [&target] { return Values{target ? "true" : "false"}; };
    add(std::move(o), scope);
}

void Options::count(std::string names, int& target, std::string help, Scope scope) {
    Option o{.names = std::move(names), .help = std::move(help), .repeatable = true};
    o.assign = [&target](const Values& v) {
        // On the command line -vv is `true` twice; elsewhere it is a number.
        const bool flags = v.back() == "true";
        target = flags ? static_cast<int>(v.size()) : parse_number(v.back(), 0, 9);
    };
    o.show = [&target] { return Values{std::to_string(target)}; };
    add(std::move(o), scope);
}

void Options::text(std::string names, std::string value, std::string& target, std::string help,
                   Scope scope) {
    checked(
        std::move(names), std::move(value), target, [](const std::string&) {}, std::move(help),
        scope);
}

void Options::checked(std::string names, std::string value, std::string& target,
                      std::function<void(const std::string&)> check, std::string help,
                      Scope scope) {
    Option o{.names = std::move(names), .value = std::move(value), .help = std::move(help)};
    o.assign = [&target, check = std::move(check)](const Values& v) {
        check(v.back());
        target = v.back();
    };
    o.show = [&target] { return Values{target}; };
    add(std::move(o), scope);
}

void Options::choice(std::string names, std::vector<std::string> choices, std::string& target,
                     std::string help, Scope scope) {
    std::string word = join(choices, "|");
    auto check = [choices = std::move(choices)](const std::string& text) {
        if (std::find(choices.begin(), choices.end(), text) == choices.end())
            throw Error(ErrorKind::usage,
                        "bad value '" + text + "', expected " + join(choices, ", "));
    };
    checked(std::move(names), std::move(word), target, std::move(check), std::move(help), scope);
}

void Options::choosing_flag(std::string names, std::vector<std::string> choices,
                            std::string& target, std::string help, Scope scope) {
    Option o{.names = std::move(names), .help = std::move(help)};
    o.assign = [&target, choices = std::move(choices)](const Values& v) {
        const std::string& text = v.back();
        if (text == "true")
            target = choices.front();
        else if (text == "false")
            target.clear();
        else if (std::find(choices.begin(), choices.end(), text) != choices.end())
            target = text;
        else
            throw Error(ErrorKind::usage,
                        "bad value '" + text + "', expected " + join(choices, ", "));
    };
    o.show = [&target] { return Values{target.empty() ? "false" : target}; };
    add(std::move(o), scope);
}

void Options::list(std::string names, std::string value, std::vector<std::string>& target,
                   std::string help, Scope scope) {
    Option o{.names = std::move(names),
             .value = std::move(value),
             .help = std::move(help),
             .repeatable = true};
    o.assign = [&target](const Values& v) { target = v; };
    o.show = [&target] { return target; };
    add(std::move(o), scope);
}

void Options::number(std::string names, int& target, int min, int max, std::string help,
                     Scope scope) {
    Option o{.names = std::move(names), .value = "N", .help = std::move(help)};
    o.assign = [&target, min, max](const Values& v) { target = parse_number(v.back(), min, max); };
    o.show = [&target] { return Values{std::to_string(target)}; };
    add(std::move(o), scope);
}

void Options::size(std::string names, std::uint64_t& target, std::string help, Scope scope) {
    Option o{.names = std::move(names), .value = "SIZE", .help = std::move(help)};
    o.assign = [&target](const Values& v) { target = parse_size(v.back()); };
    o.show = [&target] { return Values{exact_size(target)}; };
    add(std::move(o), scope);
}

void Options::rate(std::string names, std::uint64_t& target, std::string help, Scope scope) {
    Option o{.names = std::move(names), .value = "RATE", .help = std::move(help)};
    o.assign = [&target](const Values& v) {
        std::string_view text = v.back();
        target = parse_size(text.ends_with("/s") ? text.substr(0, text.size() - 2) : text);
    };
    o.show = [&target] { return Values{exact_size(target)}; };
    add(std::move(o), scope);
}

void Options::duration(std::string names, Millis& target, std::string help, Scope scope) {
    Option o{.names = std::move(names), .value = "DURATION", .help = std::move(help)};
    o.assign = [&target](const Values& v) { target = parse_duration(v.back()); };
    o.show = [&target] { return Values{exact_duration(target)}; };
    add(std::move(o), scope);
}

void Options::operands(std::string name, std::vector<std::string>& target, std::size_t min,
                       std::size_t max) {
    operand_name_ = std::move(name);
    operands_ = &target;
    operands_min_ = min;
    operands_max_ = max;
}

const Options::Option* Options::find(std::string_view key) const {
    auto found = std::find_if(options_.begin(), options_.end(),
                              [&](const Option& o) { return o.key == key; });
    return found == options_.end() ? nullptr : &*found;
}

bool Options::given(std::string_view name) const {
    const Option* option = find(name);
    return option && option->origin != Origin::built_in;
}

bool Options::from_config(std::string_view name) const {
    const Option* option = find(name);
    return option && option->origin == Origin::config;
}

std::string Options::value(std::string_view name) const {
    const Option* option = find(name);
    return option ? join(option->show(), "\n") : std::string();
}

} // namespace zl
