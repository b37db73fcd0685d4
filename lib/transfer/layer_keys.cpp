#include "transfer/layer_keys.hpp"

namespace zl {

std::string layer_key(const std::string& prefix, const std::string& digest) {
    return prefix + digest + ".tar.zst";
}

std::string layer_meta_key(const std::string& prefix, const std::string& digest) {
    return prefix + digest + ".meta.json";
}

std::string layer_doomed_key(const std::string& prefix, const std::string& digest) {
    return prefix + digest + ".doomed";
}

std::string raw_key(const std::string& prefix, const std::string& sha256) {
    return prefix + "raw/" + sha256;
}

std::string raw_meta_key(const std::string& prefix, const std::string& sha256) {
    return prefix + "raw/" + sha256 + ".meta.json";
}

std::string raw_doomed_key(const std::string& prefix, const std::string& sha256) {
    return prefix + "raw/" + sha256 + ".doomed";
}

std::string digest_prefix(const std::string& prefix, const std::string& digest, bool raw) {
    return prefix + (raw ? "raw/" : "") + digest;
}

std::string prune_notices_prefix(const std::string& prefix) {
    return prefix + "prune/";
}

std::string refs_prefix(const std::string& prefix, const std::string& name) {
    return prefix + "refs/" + name + "/";
}

} // namespace zl
