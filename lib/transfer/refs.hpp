/// Refs: NAME -> digest, one immutable object per push, and what REF on a command line means.
#pragma once

#include "base/units.hpp"
#include "store/object_store.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

/// A ref as its key tells it: refs/NAME/{timestamp}-{digest12}.json
struct RefKey {
    std::string name;
    TimePoint time{};
    std::string digest12;
    std::string key;
};

/// What a ref object holds.
struct Ref {
    std::string name;
    std::string digest;         ///< 64 hex digits
    std::string kind = "layer"; ///< layer, foreign or raw
    TimePoint created_at{};
    std::string tags = "{}"; ///< JSON object
    bool incomplete = false;
    /// read_ref(): what the object says of name and time otherwise than its key, by which readers
    /// go; empty: nothing.
    std::string differs{};
};

std::string ref_key(const std::string& prefix, const Ref& ref);
/// nullopt: the key below PREFIXrefs/ is no ref.
std::optional<RefKey> parse_ref_key(const std::string& prefix, const std::string& key);

/// Refs of exactly this NAME (never those of NAME/1), oldest first.
std::vector<RefKey> list_refs(ObjectStore& store, const std::string& prefix,
                              const std::string& name);
void write_ref(ObjectStore& store, const std::string& prefix, const Ref& ref);
/// Throws data when the object is no ref or not the one that its key says.
Ref read_ref(ObjectStore& store, const RefKey& key);

/// What REF stands for.
struct Resolved {
    std::string digest; ///< 64 hex digits
    bool raw = false;
    std::string how; ///< `newest of web1, pushed 2026-11-22T06:00:00.000Z`
    bool by_digest = false; ///< REF is (the beginning of) the digest: the store did not choose it
};

/// REF = sha256:HEX or 64 hex digits, else NAME or NAME@TIME, else a digest prefix of 8 or more hex
/// digits that is unique, or `latest`. Throws not_found (with what there is), usage when REF cannot
/// be one, data when the prefix is ambiguous.
Resolved resolve_ref(ObjectStore& store, const std::string& prefix, const std::string& ref);

} // namespace zl
