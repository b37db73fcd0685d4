#include "layer/exclude.hpp"

#include "base/error.hpp"

#include <optional>

namespace zl {

namespace {

/// Length of the set at the start of @p glob, its brackets included; 0: it has no end.
std::size_t set_length(std::string_view glob) {
    std::size_t i = 1;
    if (i < glob.size() && (glob[i] == '!' || glob[i] == '^'))
        ++i;
    if (i < glob.size() && glob[i] == ']') // first in the set: an ordinary byte
        ++i;
    while (i < glob.size() && glob[i] != ']')
        i += glob[i] == '\\' ? 2u : 1u;
    return i < glob.size() ? i + 1 : 0;
}

bool set_has(std::string_view set, char c) {
    set = set.substr(1, set.size() - 2);
    const bool negated = set.starts_with('!') || set.starts_with('^');
    if (negated)
        set.remove_prefix(1);
    const auto take = [&] {
        if (set[0] == '\\' && set.size() > 1)
            set.remove_prefix(1);
        const auto byte = static_cast<unsigned char>(set[0]);
        set.remove_prefix(1);
        return byte;
    };
    const auto wanted = static_cast<unsigned char>(c);
    bool found = false;
    while (!set.empty()) {
        const unsigned char low = take();
        unsigned char high = low;
        if (set.size() > 1 && set[0] == '-') {
            set.remove_prefix(1);
            high = take();
        }
        found = found || (low <= wanted && wanted <= high);
    }
    return found != negated;
}

/// Matches one element other than a star; nullopt: no match, else the bytes of glob it used.
std::optional<std::size_t> match_one(std::string_view glob, char c) {
    switch (glob[0]) {
    case '?':
        return c == '/' ? std::nullopt : std::optional<std::size_t>(1);
    case '[': {
        const std::size_t n = set_length(glob);
        return c != '/' && set_has(glob.substr(0, n), c) ? std::optional(n) : std::nullopt;
    }
    case '\\':
        return glob[1] == c ? std::optional<std::size_t>(2) : std::nullopt;
    default:
        return glob[0] == c ? std::optional<std::size_t>(1) : std::nullopt;
    }
}

void check(const std::string& pattern) {
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const std::string_view rest = std::string_view(pattern).substr(i);
        if (rest[0] == '\\' && rest.size() == 1)
            throw Error(ErrorKind::usage, "exclude pattern ends in a backslash: " + pattern);
        if (rest[0] == '\\')
            ++i;
        if (rest[0] != '[')
            continue;
        const std::size_t n = set_length(rest);
        if (n == 0)
            throw Error(ErrorKind::usage, "exclude pattern has a '[' without ']': " + pattern);
        i += n - 1;
    }
}

} // namespace

bool glob_match(std::string_view glob, std::string_view text) {
    // Where to try again with one byte more for the last star, and for the last double star.
    struct Retry {
        std::size_t glob, text;
    };
    std::optional<Retry> star, double_star;
    std::size_t g = 0, t = 0;
    for (;;) {
        if (g < glob.size() && glob[g] == '*') {
            const bool crosses = glob.substr(g).starts_with("**");
            const bool component =
                crosses && (g == 0 || glob[g - 1] == '/') && glob.substr(g).starts_with("**/");
            if (component) {
                // `a/**/b` matches `a/b`: zero components, or anything that ends in '/'.
                if (glob_match(glob.substr(g + 3), text.substr(t)))
                    return true;
            }
            g += crosses ? 2 : 1;
            (crosses ? double_star : star) = Retry{g, t};
            if (crosses)
                star.reset();
            continue;
        }
        if (g == glob.size() && t == text.size())
            return true;
        if (g < glob.size() && t < text.size()) {
            if (const auto used = match_one(glob.substr(g), text[t])) {
                g += *used;
                ++t;
                continue;
            }
        }
        if (star && star->text < text.size() && text[star->text] != '/') {
            t = ++star->text;
            g = star->glob;
        } else if (double_star && double_star->text < text.size()) {
            star.reset();
            t = ++double_star->text;
            g = double_star->glob;
        } else {
            return false;
        }
    }
}

Excludes::Excludes(const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) {
        check(pattern);
        Rule rule{pattern, false, false};
        while (rule.glob.size() > 1 && rule.glob.ends_with('/')) {
            rule.directories_only = true;
            rule.glob.pop_back();
        }
        rule.whole_path = rule.glob.find('/') != std::string::npos;
        if (rule.glob.starts_with('/'))
            rule.glob.erase(0, 1);
        if (rule.glob.empty())
            throw Error(ErrorKind::usage, "exclude pattern matches nothing: '" + pattern + "'");
        rules_.push_back(std::move(rule));
    }
}

bool Excludes::matches(std::string_view path, bool is_directory) const {
    const std::string_view base = path.substr(path.rfind('/') + 1);
    for (const Rule& rule : rules_)
        if ((is_directory || !rule.directories_only) &&
            glob_match(rule.glob, rule.whole_path ? path : base))
            return true;
    return false;
}

} // namespace zl
