/// zl-ls: what it shows. Each prints its rows and returns an exit code.
#pragma once

#include "store/object_store.hpp"
#include "tool.hpp"

#include <string>
#include <vector>

namespace zl {

/// Of all commands of zl-ls.
struct LsContext {
    ToolContext& tool;
    ObjectStore& store;
    std::string prefix; ///< `layers/`, or --prefix
    bool own_prefix = false;
    bool details = false; ///< -l
    int jobs = 8;
};

/// Names, layers without one, raw ones, databases.
int ls_overview(const LsContext& ls);
/// NAME, DIGEST, REF:/PATH or db/NAME. Throws not_found, usage, data (an ambiguous digest).
int ls_what(const LsContext& ls, const std::string& what);
/// Multipart uploads under way.
int ls_uploads(const LsContext& ls);

} // namespace zl
