/// The layout of layers in a store (zl-format(5)). Prefixes are concatenated as they stand.
#pragma once

#include <string>
#include <string_view>

namespace zl {

inline constexpr const char* kDefaultLayerPrefix = "layers/";

inline std::string layer_key(const std::string& prefix, const std::string& digest) {
    return prefix + digest + ".tar.zst";
}
inline std::string layer_meta_key(const std::string& prefix, const std::string& digest) {
    return prefix + digest + ".meta.json";
}
inline std::string layer_doomed_key(const std::string& prefix, const std::string& digest) {
    return prefix + digest + ".doomed";
}
inline std::string raw_key(const std::string& prefix, const std::string& sha256) {
    return prefix + "raw/" + sha256;
}
inline std::string raw_meta_key(const std::string& prefix, const std::string& sha256) {
    return prefix + "raw/" + sha256 + ".meta.json";
}
inline std::string refs_prefix(const std::string& prefix, const std::string& name) {
    return prefix + "refs/" + name + "/";
}

/// Throws usage unless @p name is one or more components of [A-Za-z0-9._-] joined by `/`, none
/// starting with a dot or named snapshots, wal, refs or metadata.json; not `latest`, not 8 or more
/// hex digits (those are digests).
void check_name(std::string_view name);

} // namespace zl
