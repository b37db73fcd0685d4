#include "layer/tar_entry.hpp"

#include "base/error.hpp"
#include "base/shown.hpp"

namespace zl {

namespace {

[[noreturn]] void refuse(std::string_view name, const char* why) {
    throw Error(ErrorKind::data, "archive entry '" + show_path(name) + "': " + why);
}

} // namespace

std::string show_path(std::string_view name) {
    return shown(name, 200);
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
