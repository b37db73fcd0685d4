#include "layer/pax_records.hpp"

namespace zl {

void append_pax_record(std::string& out, std::string_view key, std::string_view value) {
    // The length counts its own digits.
    const std::size_t rest = key.size() + value.size() + 3;
    std::size_t length = rest + 1;
    while (rest + std::to_string(length).size() != length)
        length = rest + std::to_string(length).size();
    out.append(std::to_string(length)).append(" ").append(key).append("=").append(value);
    out += '\n';
}

std::string encode_xattr_name(std::string_view name) {
    std::string out;
    out.reserve(name.size());
    for (std::size_t i = 0; i < name.size(); ++i) {
        const std::string_view next = name.substr(i + 1, 2);
        if (name[i] == '=')
            out += "%3D";
        else if (name[i] == '%' && (next == "3D" || next == "25"))
            out += "%25";
        else
            out += name[i];
    }
    return out;
}

std::string decode_xattr_name(std::string_view encoded) {
    std::string out;
    out.reserve(encoded.size());
    for (std::size_t i = 0; i < encoded.size(); ++i) {
        const std::string_view escape = encoded.substr(i, 3);
        if (escape == "%3D" || escape == "%25") {
            out += escape == "%25" ? '%' : '=';
            i += 2;
        } else {
            out += encoded[i];
        }
    }
    return out;
}

std::string format_pax_time(std::int64_t seconds, std::uint32_t nanoseconds) {
    const bool negative = seconds < 0;
    if (negative && nanoseconds != 0) {
        ++seconds; // -2 s + 0.5 s is written as -(1 s + 0.5 s)
        nanoseconds = 1'000'000'000 - nanoseconds;
    }
    // Unsigned, because -INT64_MIN does not exist.
    const std::uint64_t whole =
        negative ? 0 - static_cast<std::uint64_t>(seconds) : static_cast<std::uint64_t>(seconds);
    std::string out = (negative ? "-" : "") + std::to_string(whole);
    if (nanoseconds != 0) {
        const std::string digits = std::to_string(1'000'000'000 + nanoseconds).substr(1);
        out.append(".").append(digits, 0, digits.find_last_not_of('0') + 1);
    }
    return out;
}

} // namespace zl
