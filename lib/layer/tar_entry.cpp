#include "layer/tar_entry.hpp"

#include "base/error.hpp"

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

[[noreturn]] void refuse(std::string_view name, const char* why) {
    throw Error(ErrorKind::data, "archive entry '" + show_path(name) + "': " + why);
}

} // namespace

std::string show_path(std::string_view name) {
    static constexpr std::size_t kMax = 200;
    static constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i < name.size();) {
        if (out.size() >= kMax)
            return out + "...";
        if (const std::size_t n = printable_length(name.substr(i)); n > 0) {
            out.append(name, i, n);
            i += n;
            continue;
        }
        const auto c = static_cast<unsigned char>(name[i++]);
        out += "\\x";
        out += kHex[c >> 4];
        out += kHex[c & 15];
    }
    return out;
}

std::string clean_tar_path(std::string_view name) {
    if (name.empty())
        refuse(name, "empty name");
    if (name.size() > kMaxTarPath)
        refuse(name, "name longer than 64 KiB");
    if (name.find('\0') != std::string_view::npos)
        refuse(name, "NUL in its name");
    if (name.front() == '/')
        refuse(name, "absolute name");
    std::string_view rest = name;
    if (rest == ".")
        return {};
    if (rest.starts_with("./"))
        rest.remove_prefix(2);
    if (rest.ends_with('/'))
        rest.remove_suffix(1);
    if (rest.empty())
        return {};
    std::string path(rest);
    for (;;) {
        const auto slash = rest.find('/');
        const std::string_view part = rest.substr(0, slash);
        if (part.empty() || part == ".")
            refuse(name, "empty or '.' component in its name");
        if (part == "..")
            refuse(name, "'..' in its name");
        if (part.size() > kMaxTarComponent)
            refuse(name, "name component longer than 255 bytes");
        if (slash == std::string_view::npos)
            return path;
        rest.remove_prefix(slash + 1);
    }
}

} // namespace zl
