#include "layer/pack_notes.hpp"

#include "base/error.hpp"

#include <cstdint>

namespace zl {

namespace {

constexpr std::size_t kMaxShown = 1024;

/// Length of the UTF-8 character at the start of @p text; 0: none, or a control character.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
    };
    const unsigned first = byte(0);
    if (first < 0x80)
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    const std::size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
    if (n == 0 || first > 0xf4)
        return 0;
    std::uint32_t c = first & (0xffu >> (n + 1));
    for (std::size_t i = 1; i < n; ++i) {
        if ((byte(i) & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (byte(i) & 0x3f);
    }
    constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool is_char = c >= kSmallest[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
    return is_char && c >= 0xa0 ? n : 0; // 0x80..0x9f are control characters
}

} // namespace

std::string escape_path(std::string_view path) {
    constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    std::string_view rest = path;
    if (path.size() > kMaxShown) {
        out = escape_path(path.substr(0, kMaxShown / 2 - 2)) + "...";
        rest.remove_prefix(path.size() - kMaxShown / 2);
    }
    while (!rest.empty()) {
        const std::size_t n = utf8_length(rest);
        const auto byte = static_cast<unsigned char>(rest[0]);
        if (rest[0] == '\\')
            out += "\\\\";
        else if (n != 0)
            out += rest.substr(0, n);
        else
            out.append("\\x").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
        rest.remove_prefix(n ? n : 1);
    }
    return out;
}

void PackNotes::add(const PackNote& note) {
    const std::string path = escape_path(note.path);
    const std::string line = path + ": " + note.reason;
    const bool is_change = note.kind == PackNote::Kind::changed;
    if (is_change && changed_ == PackOptions::Changed::fail)
        throw Error(ErrorKind::transient, line,
                    "pack a frozen container or a snapshot, or use --changed=warn");
    const bool is_gap = note.kind == PackNote::Kind::unreadable ||
                        (is_change && changed_ == PackOptions::Changed::warn);
    log_.write(is_gap ? LogLevel::warning : LogLevel::info, line);
    notes_.incomplete = notes_.incomplete || is_gap;
    ++notes_.skipped_count;
    if (notes_.skipped.size() < kMaxSkippedListed)
        notes_.skipped.push_back({path, note.reason});
}

} // namespace zl
