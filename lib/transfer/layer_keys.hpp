/// The layout of layers in a store (zl-format(5)). Prefixes are concatenated as they stand.
#pragma once

#include <string>

namespace zl {

inline constexpr const char* kDefaultLayerPrefix = "layers/";

std::string layer_key(const std::string& prefix, const std::string& digest);
std::string layer_meta_key(const std::string& prefix, const std::string& digest);
/// The mark that zl-prune sets before it deletes (see prune_notice.hpp).
std::string layer_doomed_key(const std::string& prefix, const std::string& digest);
std::string raw_key(const std::string& prefix, const std::string& sha256);
std::string raw_meta_key(const std::string& prefix, const std::string& sha256);
std::string raw_doomed_key(const std::string& prefix, const std::string& sha256);
/// What all keys of a digest begin with.
std::string digest_prefix(const std::string& prefix, const std::string& digest, bool raw);
/// Below it: what prunes under way are about to delete.
std::string prune_notices_prefix(const std::string& prefix);
/// @p name: as check_name() (store/name.hpp) allows.
std::string refs_prefix(const std::string& prefix, const std::string& name);

} // namespace zl
