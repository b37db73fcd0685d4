/// zl-ls: what a WHAT on its command line means.
#pragma once

#include "ls_list.hpp"
#include "wal/replica_keys.hpp"

#include <string>
#include <vector>

namespace zl {

struct LsWhat {
    enum class Kind {
        name,     ///< NAME: its pushes
        layer,    ///< a digest, a prefix of one, NAME@TIME, latest
        contents, ///< REF:/PATH
        database, ///< db/NAME
    } kind;
    std::string name; ///< NAME; REF; the database's name without `db/`
    std::string path; ///< contents only

    /// Of a database, as it is shown: `db/app`, or --prefix.
    std::string subject(const LsContext& ls) const {
        return ls.own_prefix ? ls.prefix : "db/" + name;
    }
    /// Of a database.
    ReplicaKeys keys(const LsContext& ls) const {
        return ls.own_prefix ? ReplicaKeys(ls.prefix) : ReplicaKeys::of_name(name);
    }
};

/// Looks into the store only for `db/NAME`, which may be a layer's name too. Throws usage for what
/// can be nothing, not_found for a database that is not there.
LsWhat parse_what(const LsContext& ls, const std::string& text);

/// With --prefix the one that lies there, if any.
std::vector<LsWhat> databases_of(const LsContext& ls);

/// Throws not_found, with a hint if there is a database of that name.
[[noreturn]] void no_such_name(const LsContext& ls, const std::string& name);

} // namespace zl
