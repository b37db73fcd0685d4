/// Configuration files: `key = value` lines, `#` comments, optional quotes, `[zl-push]` sections
/// that hold for one tool only. Keys are the long option names with `-` or `_`.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

struct ConfigValue {
    std::string text;
    std::string where; ///< `/etc/zl/zl.conf:3`, for messages
};
/// Key (with `-`) to its values in order; a later file or a section replaces all values of a key.
using Config = std::map<std::string, std::vector<ConfigValue>>;

/// Keys and ZL_* variables (as option names) that some zl tool knows. One table, because a file is
/// shared by all tools and a tool must tell a mistyped key from one of its siblings'.
const std::vector<std::string>& known_keys();
const std::vector<std::string>& known_tools();

/// `part-size` to `ZL_PART_SIZE`.
std::string environment_name(std::string_view key);

/// Add what @p text says for @p tool. @p own_keys: the keys that @p tool knows; a key in its own
/// section must be one of them. Throws config naming @p path and the line: unknown key or section
/// (with the nearest one), bad syntax, and keys that look like secrets.
void merge_config(Config& config, std::string_view text, const std::string& path,
                  std::string_view tool, const std::vector<std::string>& own_keys);

} // namespace zl
