/// A body whose SHA-256 was taken when its bytes came in: signing a request need not read it first,
/// and what the store compares it with are those bytes, not what a disk made of them since.
#pragma once

#include "store/object_store.hpp"

#include <string>
#include <utility>

namespace zl {

class HashedBody final : public Body {
public:
    /// @p bytes outlives this; @p sha256_hex of all of them.
    HashedBody(const Body& bytes, std::string sha256_hex)
        : bytes_(bytes), sha256_(std::move(sha256_hex)) {}
    std::uint64_t size() const override { return bytes_.size(); }
    void read(std::uint64_t offset, std::span<std::byte> buffer) const override {
        bytes_.read(offset, buffer);
    }
    const std::string& sha256() const { return sha256_; }

private:
    const Body& bytes_;
    std::string sha256_;
};

} // namespace zl
