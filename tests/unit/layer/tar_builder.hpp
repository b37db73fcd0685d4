/// Tars made by hand for tests, hostile ones too; independent of the code under test.
#pragma once

#include "stream/stream.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zl::test {

/// One 512-byte header; every field as text or bytes, so that wrong ones can be made.
struct RawHeader {
    std::string name = "f";
    char type = '0';
    std::uint64_t size = 0;
    std::string link{};
    std::string mode = "0000644";
    std::string uid = "0000000";
    std::string gid = "0000000";
    std::string mtime = "00000000001";
    std::string magic = std::string("ustar\0" "00", 8);
    std::string major = "0000000";
    std::string minor = "0000000";
    std::string prefix{};
    bool good_checksum = true;

    std::string block() const {
        std::string b(512, '\0');
        const auto put = [&](std::size_t at, std::string_view text) {
            b.replace(at, text.size(), text);
        };
        char octal[16];
        std::snprintf(octal, sizeof octal, "%011llo", static_cast<unsigned long long>(size));
        put(0, name);
        put(100, mode);
        put(108, uid);
        put(116, gid);
        put(124, octal);
        put(136, mtime);
        put(148, "        ");
        b[156] = type;
        put(157, link);
        put(257, magic);
        put(329, major);
        put(337, minor);
        put(345, prefix);
        unsigned sum = good_checksum ? 0 : 1;
        for (char c : b)
            sum += static_cast<unsigned char>(c);
        std::snprintf(octal, sizeof octal, "%06o", sum);
        put(148, std::string_view(octal, 7));
        return b;
    }
};

inline std::string pad(std::string data) {
    data.resize((data.size() + 511) / 512 * 512, '\0');
    return data;
}

inline std::string record(std::string_view key, std::string_view value) {
    std::string body = " " + std::string(key) + "=" + std::string(value) + "\n";
    std::size_t n = body.size() + 1;
    while (std::to_string(n).size() + body.size() != n)
        ++n;
    return std::to_string(n) + body;
}

class TarBuilder {
public:
    TarBuilder& raw(std::string_view bytes) {
        text += bytes;
        return *this;
    }
    TarBuilder& header(const RawHeader& h) { return raw(h.block()); }
    TarBuilder& pax(std::string_view records, char type = 'x') {
        RawHeader h;
        h.name = "PaxHeaders/x";
        h.type = type;
        h.size = records.size();
        return raw(h.block()).raw(pad(std::string(records)));
    }
    TarBuilder& file(const std::string& name, std::string_view data = {},
                     const std::string& mode = "0000644") {
        RawHeader h;
        h.name = name;
        h.size = data.size();
        h.mode = mode;
        return raw(h.block()).raw(pad(std::string(data)));
    }
    TarBuilder& dir(const std::string& name, const std::string& mode = "0000755") {
        RawHeader h;
        h.name = name;
        h.type = '5';
        h.mode = mode;
        return header(h);
    }
    TarBuilder& link(char type, const std::string& name, const std::string& target) {
        RawHeader h;
        h.name = name;
        h.type = type;
        h.link = target;
        return header(h);
    }
    TarBuilder& device(const std::string& name, const std::string& major,
                       const std::string& minor) {
        RawHeader h;
        h.name = name;
        h.type = '3';
        h.major = major;
        h.minor = minor;
        return header(h);
    }
    std::string end() const { return text + std::string(1024, '\0'); }

    std::string text;
};

/// Gives its bytes in pieces of @p step.
class SlowSource final : public Source {
public:
    SlowSource(std::string_view data, std::size_t step) : data_(data), step_(step) {}
    std::size_t read(std::span<std::byte> buffer) override {
        const std::size_t n = std::min({buffer.size(), step_, data_.size()});
        if (n > 0)
            std::memcpy(buffer.data(), data_.data(), n);
        data_.remove_prefix(n);
        return n;
    }

private:
    std::string_view data_;
    std::size_t step_;
};

} // namespace zl::test
