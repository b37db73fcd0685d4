#include "config.hpp"

#include "base/error.hpp"
#include "nearest.hpp"

#include <algorithm>
#include <cctype>

namespace zl {

namespace {

bool contains(const std::vector<std::string>& list, std::string_view item) {
    return std::find(list.begin(), list.end(), item) != list.end();
}

std::string_view trim(std::string_view s) {
    constexpr std::string_view kBlank = " \t\r";
    std::size_t begin = s.find_first_not_of(kBlank);
    if (begin == std::string_view::npos)
        return {};
    return s.substr(begin, s.find_last_not_of(kBlank) - begin + 1);
}

/// Reads one file; knows where it is, for messages.
class ConfigReader {
public:
    ConfigReader(const std::string& path, std::string_view tool,
                 const std::vector<std::string>& own_keys)
        : path_(path), tool_(tool), own_keys_(own_keys) {}

    void line(std::string_view text) {
        ++number_;
        text = trim(text);
        if (text.empty() || text[0] == '#')
            return;
        if (text[0] == '[')
            return open_section(text);
        std::size_t equals = text.find('=');
        if (equals == std::string_view::npos)
            fail("expected `key = value`");
        std::string key(trim(text.substr(0, equals)));
        std::replace(key.begin(), key.end(), '_', '-');
        check_key(key);
        ConfigValue value{unquote(trim(text.substr(equals + 1))), where()};
        if (section_.empty())
            general[key].push_back(std::move(value));
        else if (section_ == tool_)
            for_tool[key].push_back(std::move(value));
    }

    Config general, for_tool;

private:
    std::string where() const { return path_ + ":" + std::to_string(number_); }

    [[noreturn]] void fail(const std::string& message, const std::string& hint = {}) const {
        throw Error(ErrorKind::config, where() + ": " + message, hint);
    }

    void open_section(std::string_view text) {
        std::size_t end = text.find(']');
        std::string_view tail = end == std::string_view::npos ? "" : trim(text.substr(end + 1));
        if (end == std::string_view::npos || (!tail.empty() && tail[0] != '#'))
            fail("expected `[tool]`");
        section_ = trim(text.substr(1, end - 1));
        if (!contains(known_tools(), section_)) {
            auto known = nearest(section_, known_tools());
            fail("unknown section [" + section_ + "]",
                 known ? "did you mean [" + *known + "]?" : "sections are names of zl tools");
        }
    }

    void check_key(const std::string& key) const {
        const bool own_section = section_ == tool_;
        if (own_section ? contains(own_keys_, key) : contains(known_keys(), key))
            return;
        std::string lower = key;
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        for (const char* part :
             {"secret", "password", "passwd", "token", "access-key", "credential"})
            if (lower.find(part) != std::string::npos)
                fail("`" + key + "` is a secret and does not belong here",
                     "use the AWS_* variables, or `profile=` in the store URL");
        const auto& candidates = own_section ? own_keys_ : known_keys();
        auto known = nearest(key, candidates);
        fail("unknown key `" + key + "`" + (own_section ? " for " + section_ : ""),
             known ? "did you mean `" + *known + "`?" : "keys are the long option names");
    }

    /// Takes quotes off; without them a `#` after a blank begins a comment.
    std::string unquote(std::string_view value) const {
        if (value.empty() || (value[0] != '"' && value[0] != '\'')) {
            for (std::size_t at = value.find('#'); at != std::string_view::npos;
                 at = value.find('#', at + 1))
                if (at == 0 || value[at - 1] == ' ' || value[at - 1] == '\t')
                    return std::string(trim(value.substr(0, at)));
            return std::string(value);
        }
        std::size_t end = value.find(value[0], 1);
        if (end == std::string_view::npos)
            fail("missing closing quote");
        std::string_view tail = trim(value.substr(end + 1));
        if (!tail.empty() && tail[0] != '#')
            fail("text after the closing quote");
        return std::string(value.substr(1, end - 1));
    }

    const std::string& path_;
    std::string_view tool_;
    const std::vector<std::string>& own_keys_;
    std::string section_;
    int number_ = 0;
};

} // namespace

const std::vector<std::string>& known_tools() {
    static const std::vector<std::string> tools{"zl-pack",    "zl-push",    "zl-pull", "zl-unpack",
                                                "zl-walship", "zl-restore", "zl-ls",   "zl-prune"};
    return tools;
}

const std::vector<std::string>& known_keys() {
    static const std::vector<std::string> keys{
        // all tools
        "log-format", "metrics", "progress", "quiet", "timeout", "verbose",
        // tools that talk to a store
        "bwlimit", "prefix", "retry-for", "state-dir", "store",
        // single tools
        "changed", "exclude", "jobs", "level", "max-size", "name", "no-same-owner",
        "one-file-system", "part-size", "sparse", "spool-dir", "state-db", "tag", "threads",
        "userxattr",
        // zl-prune
        "keep-daily", "keep-hourly", "keep-last", "keep-monthly", "keep-weekly", "keep-within",
        "uploads-older",
        // zl-restore
        "check",
        // zl-walship
        "auto-restore", "cache-dir", "drain-timeout", "enable-wal", "fine", "max-cache-size",
        "max-wal", "on-replication-failure", "retain", "snapshot-interval", "sync-interval",
        "wait"};
    return keys;
}

std::string environment_name(std::string_view key) {
    std::string name = "ZL_";
    for (char c : key)
        name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return name;
}

void merge_config(Config& config, std::string_view text, const std::string& path,
                  std::string_view tool, const std::vector<std::string>& own_keys) {
    ConfigReader reader(path, tool, own_keys);
    while (!text.empty()) {
        std::size_t end = text.find('\n');
        reader.line(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    for (auto& [key, values] : reader.general)
        config[key] = std::move(values);
    for (auto& [key, values] : reader.for_tool)
        config[key] = std::move(values);
}

} // namespace zl
