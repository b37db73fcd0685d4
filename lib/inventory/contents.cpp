#include "inventory/contents.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "transfer/layer_parts.hpp"

#include <map>

namespace zl {

void list_contents(ObjectStore& store, const PullTarget& target, const std::string& path,
                   const std::function<void(const TocEntry&, const std::string&)>& visit) {
    if (!target.end)
        throw Error(ErrorKind::usage, "sha256:" + target.what.digest + " has no table of contents",
                    "it was made by another tool, or is raw: zl-pull it and look with tar -t");
    const std::string wanted = layer_path(path);
    const std::string toc = fetch_toc(store, target.object, *target.end);
    // What hard links stand for may lie before what was asked for.
    std::map<std::uint64_t, std::string> targets;
    bool found = false;
    read_toc(as_bytes(toc), [&](std::uint64_t, const TocEntry& e) {
        if (is_at_or_below(e.path, wanted)) {
            found = true;
            if (e.type == EntryType::hardlink)
                targets[e.link_index];
        }
        return true;
    });
    if (!found)
        throw Error(ErrorKind::not_found, "no " + wanted + " in sha256:" + target.what.digest);
    read_toc(as_bytes(toc), [&](std::uint64_t i, const TocEntry& e) {
        if (auto t = targets.find(i); t != targets.end())
            t->second = e.path;
        if (is_at_or_below(e.path, wanted))
            visit(e, e.type == EntryType::hardlink ? targets[e.link_index] : std::string());
        return true;
    });
}

} // namespace zl
