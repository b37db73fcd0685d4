#include "base/shown.hpp"

namespace zl {

namespace {

/// The character at the start of @p s, not empty, and its length in UTF-8 (RFC 3629); 0 bytes: none.
std::size_t decode(std::string_view s, char32_t& c) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    c = byte(0);
    if (c < 0x80)
        return 1;
    const std::size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || s.size() < n)
        return 0;
    c &= 0x7fU >> n;
    for (std::size_t i = 1; i < n; ++i) {
        if ((byte(i) & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (byte(i) & 0x3fU);
    }
    const bool overlong = c < (n == 4 ? 0x10000U : n == 3 ? 0x800U : 0x80U);
    return overlong || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

/// Length of the printable character at the start of @p s; 0 if there is none.
std::size_t printable_length(std::string_view s) {
    char32_t c = 0;
    const std::size_t n = decode(s, c);
    // 0x80..0x9f are control characters too (C1): some terminals obey them. The others turn the
    // direction of the text round, so that one name looks like another.
    const bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    const bool turns = (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    return control || turns ? 0 : n;
}

/// @p length: how many bytes at the start of what is left stay as they are.
template <typename Length>
std::string escaped(std::string_view text, std::size_t max, Length length) {
    static constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        if (out.size() >= max)
            return out + "...";
        if (const std::size_t n = length(text.substr(i)); n > 0) {
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

} // namespace

std::string shown(std::string_view text, std::size_t max) {
    return escaped(text, max, [](std::string_view rest) {
        return rest[0] == '\\' ? 0 : printable_length(rest);
    });
}

std::string printable(std::string_view text, bool keep_newlines) {
    return escaped(text, std::string_view::npos, [&](std::string_view rest) {
        return rest[0] == '\n' && keep_newlines ? 1 : printable_length(rest);
    });
}

} // namespace zl
