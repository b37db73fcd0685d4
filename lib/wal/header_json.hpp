/// Fields of the JSON lines that segments and snapshots carry. Readers take only what this zl would
/// write itself, so each helper is as strict as the writer.
#pragma once

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/units.hpp"
#include "stream/hash.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace zl {

/// For objects that do not look like ours.
inline constexpr const char* kZLayerHint =
    "this looks like a replica of zlayer-storage, which zl neither continues nor restores: choose "
    "another NAME or --prefix for zl; the old data comes back with zlayer-storage, or by hand with "
    "zstd -d of its newest snapshot";

/// SHA-256 in hex between two line feeds: what follows the JSON.
inline constexpr std::size_t kSealSize = 66;

/// Printable ASCII that needs no escape in JSON, so that its size there is known.
inline std::string header_text(std::string_view text, std::size_t max) {
    std::string out(text.substr(0, max));
    for (char& c : out)
        if (c < ' ' || c > '~' || c == '"' || c == '\\')
            c = '?';
    return out;
}

inline std::string hex16(std::uint64_t value) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string out(16, '0');
    for (std::size_t i = 16; i-- > 0; value >>= 4)
        out[i] = digits[value & 15];
    return out;
}

inline std::optional<std::uint64_t> parse_hex16(std::string_view text) {
    std::uint64_t n = 0;
    if (text.size() != 16)
        return std::nullopt;
    for (char c : text) {
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f'))
            return std::nullopt;
        n = n << 4 | static_cast<unsigned>(digit ? c - '0' : c - 'a' + 10);
    }
    return n;
}

/// Typed look at the fields of one object; throws data naming the document and the field.
class HeaderFields {
public:
    HeaderFields(Json object, std::string name)
        : object_(std::move(object)), name_(std::move(name)) {}

    bool has(const char* field) const { return object_.is_object() && object_.contains(field); }
    std::string text(const char* field) const { return json_string(object_, field, name_); }
    std::uint64_t number(const char* field) const { return json_uint(object_, field, name_); }
    std::uint32_t number32(const char* field) const {
        std::uint64_t n = number(field);
        if (n > std::numeric_limits<std::uint32_t>::max())
            throw bad(field, std::to_string(n));
        return static_cast<std::uint32_t>(n);
    }
    /// 16 hex digits.
    std::string id(const char* field) const {
        std::string t = text(field);
        if (!parse_hex16(t))
            throw bad(field, t);
        return t;
    }
    std::uint64_t hash(const char* field) const { return *parse_hex16(id(field)); }
    Digest digest(const char* field) const {
        std::string t = text(field);
        auto d = Digest::from_hex(t);
        if (!d)
            throw bad(field, t);
        return *d;
    }
    TimePoint time(const char* field) const {
        std::string t = text(field);
        try {
            return parse_time(t);
        } catch (const Error&) { // a usage error there; here the data is wrong
            throw bad(field, t);
        }
    }
    Error bad(const char* field, const std::string& value) const {
        return Error(ErrorKind::data,
                     name_ + ": impossible " + field + " " + header_text(value, 80));
    }

private:
    Json object_;
    std::string name_;
};

/// @p line, LF, its SHA-256 in hex, LF.
inline std::string sealed(const std::string& line, std::size_t padding = 0) {
    return line + std::string(padding, ' ') + "\n" + sha256(as_bytes(line)).hex() + "\n";
}

/// The line of what sealed() made, without padding; nullopt: it is none, or its checksum is wrong.
inline std::optional<std::string> unsealed(std::string_view payload) {
    if (payload.size() < kSealSize + 1 || payload.back() != '\n' ||
        payload[payload.size() - kSealSize] != '\n')
        return std::nullopt;
    std::string_view line = payload.substr(0, payload.size() - kSealSize);
    line = line.substr(0, line.find_last_not_of(' ') + 1);
    if (sha256(as_bytes(line)).hex() != payload.substr(payload.size() - kSealSize + 1, 64))
        return std::nullopt;
    return std::string(line);
}

} // namespace zl
