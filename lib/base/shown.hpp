/// Bytes from outside (names in a store, in an archive) as a terminal or a message may have them.
#pragma once

#include <string>
#include <string_view>

namespace zl {

/// @p text with everything but printable UTF-8 (control characters of both kinds, and those that
/// turn the direction of text round) as `\xHH`; a backslash too, so that it can be read
/// back. Cut, with `...`, once @p max bytes are written.
std::string shown(std::string_view text, std::size_t max = std::string_view::npos);

/// The same of a message, which may hold what was shown() already: backslashes as they are;
/// @p keep_newlines for one of several lines.
std::string printable(std::string_view text, bool keep_newlines = false);

} // namespace zl
