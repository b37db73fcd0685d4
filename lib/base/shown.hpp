/// Bytes from outside (names in a store, in an archive) as a terminal or a message may have them.
#pragma once

#include <string>
#include <string_view>

namespace zl {

/// @p text with everything but printable UTF-8 as `\xHH`; a backslash too, so that it can be read
/// back. Cut, with `...`, once @p max bytes are written.
std::string shown(std::string_view text, std::size_t max = std::string_view::npos);

} // namespace zl
