#include "base/shown.hpp"

namespace zl {

namespace {

/// Length of the valid UTF-8 sequence of printable text at the start of @p s; 0 if there is none.
std::size_t printable_length(std::string_view s) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    if (byte(0) < 0x80)
        return byte(0) >= 0x20 && byte(0) != 0x7f && byte(0) != '\\' ? 1 : 0;
    // 0xC2 0x80..0x9F are control characters too (C1): some terminals obey them.
    const std::size_t n = byte(0) >= 0xf0 && byte(0) <= 0xf4   ? 4
                          : byte(0) >= 0xe0 && byte(0) <= 0xef ? 3
                          : byte(0) >= 0xc2 && byte(0) <= 0xdf ? 2
                                                               : 0;
    if (n == 0 || s.size() < n || (byte(0) == 0xc2 && byte(1) < 0xa0))
        return 0;
    for (std::size_t i = 1; i < n; ++i)
        if ((byte(i) & 0xc0) != 0x80)
            return 0;
    return n;
}

} // namespace

std::string shown(std::string_view text, std::size_t max) {
    static constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        if (out.size() >= max)
            return out + "...";
        if (const std::size_t n = printable_length(text.substr(i)); n > 0) {
            out.append(text, i, n);
            i += n;
            continue;
        }
        const auto c = static_cast<unsigned char>(text[i++]);
        out += "\\x";
        out += kHex[c >> 4];
        out += kHex[c & 15];
    }
    return out;
}

} // namespace zl
