/// --exclude GLOB. Names are bytes.
///   PATTERN without '/'    matches the last component of a path, at any depth
///   PATTERN with '/'       matches the whole path from the root; a leading '/' is allowed
///   PATTERN/               matches directories only
///   * any bytes but '/'; ** also '/' (a double-star component matches nothing too); ? one byte
///   but '/'; [a-z] [!a-z] a set; \ takes the next byte as it is.
/// What is below an excluded directory is excluded with it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace zl {

class Excludes {
public:
    Excludes() = default;
    /// Throws usage: an empty pattern, an open '[', a trailing '\'.
    explicit Excludes(const std::vector<std::string>& patterns);

    bool empty() const { return rules_.empty(); }
    bool matches(std::string_view path, bool is_directory) const;

private:
    struct Rule {
        std::string glob;
        bool whole_path;
        bool directories_only;
    };
    std::vector<Rule> rules_;
};

/// The whole of @p text matches @p glob.
bool glob_match(std::string_view glob, std::string_view text);

} // namespace zl
