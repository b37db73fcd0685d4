#include "ls_what.hpp"

#include "base/error.hpp"
#include "inventory/inventory.hpp"
#include "store/name.hpp"
#include "stream/hash.hpp"
#include "transfer/refs.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr std::size_t kShortestDigest = 8;

bool is_digest(const std::string& text) {
    if (text.starts_with("sha256:"))
        return true;
    return text.size() >= kShortestDigest && text.size() <= 64 &&
           text.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
}

} // namespace

LsWhat parse_what(const LsContext& ls, const std::string& text) {
    if (const auto colon = text.find(":/"); colon != std::string::npos && colon > 0)
        return {LsWhat::Kind::contents, text.substr(0, colon), text.substr(colon + 1)};
    if (is_digest(text) || text == "latest" || text.find('@') != std::string::npos)
        return {LsWhat::Kind::layer, text, {}};
    if (!text.starts_with("db/")) {
        check_name(text);
        return {LsWhat::Kind::name, text, {}};
    }
    LsWhat what{LsWhat::Kind::database, text.substr(3), {}};
    check_db_name(what.name);
    if (holds_database(ls.store, what.keys(ls).prefix()))
        return what;
    if (!ls.own_prefix && !list_refs(ls.store, ls.prefix, text).empty())
        return {LsWhat::Kind::name, text, {}};
    throw Error(ErrorKind::not_found, "no database in " + ls.store.describe(what.keys(ls).prefix()),
                "zl-ls without a name shows what there is");
}

std::vector<LsWhat> databases_of(const LsContext& ls) {
    std::vector<LsWhat> out;
    if (!ls.own_prefix)
        for (const std::string& name : list_databases(ls.store).names)
            out.push_back({LsWhat::Kind::database, name, {}});
    else if (holds_database(ls.store, ls.prefix))
        out.push_back({LsWhat::Kind::database, ls.prefix, {}});
    return out;
}

void no_such_name(const LsContext& ls, const std::string& name) {
    const bool database = !ls.own_prefix && is_db_name(name) &&
                          holds_database(ls.store, ReplicaKeys::of_name(name).prefix());
    throw Error(ErrorKind::not_found,
                "no layer named " + name + " in " + ls.store.describe(ls.prefix),
                database ? "there is a database of this name: db/" + name
                         : "zl-ls without a name shows what there is");
}

} // namespace zl
