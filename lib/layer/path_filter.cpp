#include "layer/path_filter.hpp"

#include "base/error.hpp"
#include "layer/beneath.hpp"
#include "layer/overlay_marks.hpp"

namespace zl {

namespace {

/// @p path is @p top or below it.
bool is_within(std::string_view path, std::string_view top) {
    return top.empty() || (path.starts_with(top) &&
                           (path.size() == top.size() || path[top.size()] == '/'));
}

/// `d/.wh.x` -> `d/x`, `d/.wh..wh..opq` -> `d`; other paths as they are.
std::string meant_path(std::string_view path) {
    const auto [parent, name] = split_path(path);
    if (name == kOpaqueName)
        return std::string(parent);
    const auto target = wh_target(name);
    if (!target)
        return std::string(path);
    return parent.empty() ? std::string(*target)
                          : std::string(parent) + "/" + std::string(*target);
}

} // namespace

PathFilter::PathFilter(const std::vector<std::string>& paths) {
    for (const auto& path : paths) {
        try {
            wanted_.push_back({clean_tar_path(path)});
        } catch (const Error&) {
            throw Error(ErrorKind::usage, "PATH '" + show_path(path) + "' cannot be in a layer",
                        "paths in a layer are relative and without '..', such as etc/passwd");
        }
    }
}

bool PathFilter::takes(const TarEntry& entry) {
    if (!active())
        return true;
    const std::string meant = meant_path(entry.path);
    bool taken = false;
    for (auto& wanted : wanted_) {
        if (is_within(entry.path, wanted.path) || is_within(meant, wanted.path))
            taken = wanted.found = true;
        else if (entry.type == EntryType::directory && is_within(wanted.path, entry.path))
            taken = true;
    }
    return taken;
}

void PathFilter::check_all_found() const {
    for (const auto& wanted : wanted_)
        if (!wanted.found)
            throw Error(ErrorKind::not_found, show_path(wanted.path) + ": not in the layer");
}

} // namespace zl
