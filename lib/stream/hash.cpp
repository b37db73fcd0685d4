#include "stream/hash.hpp"

#include "base/error.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace zl {

std::string to_hex(Bytes data) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(data.size() * 2);
    for (std::byte b : data) {
        out += kDigits[std::to_integer<unsigned>(b) >> 4];
        out += kDigits[std::to_integer<unsigned>(b) & 15];
    }
    return out;
}

std::string Digest::hex() const {
    return to_hex(bytes);
}

std::optional<Digest> Digest::from_hex(std::string_view text) {
    Digest out;
    if (text.size() != 64)
        return std::nullopt;
    auto nibble = [](char c) -> int {
        if (c >= '0' && c <= '9')
            return c - '0';
        if (c >= 'a' && c <= 'f')
            return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
            return c - 'A' + 10;
        return -1;
    };
    for (std::size_t i = 0; i < 32; ++i) {
        int hi = nibble(text[2 * i]), lo = nibble(text[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return std::nullopt;
        out.bytes[i] = static_cast<std::byte>(hi << 4 | lo);
    }
    return out;
}

namespace {

void check(int ok) {
    if (ok != 1)
        throw Error(ErrorKind::internal, "OpenSSL digest call failed");
}

} // namespace

void Hasher::Free::operator()(evp_md_ctx_st* c) const noexcept {
    EVP_MD_CTX_free(c);
}

Hasher::Hasher(Algorithm a) : ctx_(EVP_MD_CTX_new()) {
    if (!ctx_)
        throw std::bad_alloc();
    check(
        EVP_DigestInit_ex(ctx_.get(), a == Algorithm::sha256 ? EVP_sha256() : EVP_md5(), nullptr));
}

void Hasher::update(Bytes data) {
    if (!data.empty())
        check(EVP_DigestUpdate(ctx_.get(), data.data(), data.size()));
}

Digest Hasher::finish() {
    Digest out;
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    check(EVP_DigestFinal_ex(ctx_.get(), raw, &n));
    if (n != out.bytes.size())
        throw Error(ErrorKind::internal, "finish() of a hash that is not SHA-256");
    std::copy_n(reinterpret_cast<const std::byte*>(raw), n, out.bytes.begin());
    return out;
}

std::string Hasher::finish_hex() {
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    check(EVP_DigestFinal_ex(ctx_.get(), raw, &n));
    return to_hex(std::as_bytes(std::span(raw, n)));
}

Digest Hasher::peek() const {
    Hasher copy;
    check(EVP_MD_CTX_copy_ex(copy.ctx_.get(), ctx_.get()));
    return copy.finish();
}

Digest sha256(Bytes data) {
    Hasher h;
    h.update(data);
    return h.finish();
}

std::string md5_hex(Bytes data) {
    Hasher h(Hasher::Algorithm::md5);
    h.update(data);
    return h.finish_hex();
}

Digest hmac_sha256(Bytes key, Bytes data) {
    Digest out;
    unsigned int n = 0;
    if (!HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
              reinterpret_cast<const unsigned char*>(data.data()), data.size(),
              reinterpret_cast<unsigned char*>(out.bytes.data()), &n))
        throw Error(ErrorKind::internal, "OpenSSL HMAC failed");
    return out;
}

} // namespace zl
