/// `--store` / ZL_STORE: s3://BUCKET[/ROOT][?key=value&...], file:///ABS/DIR or /ABS/DIR.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace zl {

struct StoreUrl {
    enum class Kind { s3, directory };
    enum class Addressing { automatic, path, virtual_host };
    Kind kind = Kind::directory;
    std::string path;   ///< directory: absolute, no trailing slash
    std::string bucket; ///< s3
    std::string root;   ///< s3: key prefix without leading or trailing slash, may be empty
    // Query of s3://, empty = not given
    std::string endpoint, region, profile, sse, sse_kms_key_id, storage_class;
    Addressing addressing = Addressing::automatic;
    bool conditional = true;

    /// Throws usage naming the offending part and the fix: unknown query keys (with the nearest
    /// known one), anything that looks like a secret (access_key, secret, token, password, userinfo
    /// `user:pass@`), a relative path, an empty bucket. Values are percent-decoded.
    static StoreUrl parse(std::string_view text);
};

} // namespace zl
