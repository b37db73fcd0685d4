/// Message digests over OpenSSL's EVP.
#pragma once

#include "stream/stream.hpp"

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace zl {

/// SHA-256 value. Text form is 64 lower-case hex digits.
struct Digest {
    std::array<std::byte, 32> bytes{};
    bool operator==(const Digest&) const = default;
    std::string hex() const;
    /// Accepts exactly 64 lower- or upper-case hex digits.
    static std::optional<Digest> from_hex(std::string_view text);
};

/// Incremental hash; finish() may be called once.
class Hasher {
public:
    enum class Algorithm { sha256, md5 };
    explicit Hasher(Algorithm a = Algorithm::sha256);
    Hasher(Hasher&&) noexcept = default;
    Hasher& operator=(Hasher&&) noexcept = default;
    void update(Bytes data);
    /// SHA-256 only.
    Digest finish();
    /// Lower-case hex of either algorithm.
    std::string finish_hex();
    /// The digest of what was seen so far; the hasher goes on.
    Digest peek() const;

private:
    struct Free {
        void operator()(evp_md_ctx_st* c) const noexcept;
    };
    std::unique_ptr<evp_md_ctx_st, Free> ctx_;
};

Digest sha256(Bytes data);
Digest hmac_sha256(Bytes key, Bytes data);
std::string md5_hex(Bytes data);
std::string to_hex(Bytes data);

} // namespace zl
