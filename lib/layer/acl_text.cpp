#include "layer/acl_text.hpp"

#include "base/error.hpp"
#include "layer/pax_parse.hpp"
#include "layer/tar_entry.hpp"

#include <algorithm>
#include <optional>
#include <tuple>

namespace zl {

namespace {

constexpr std::uint32_t kAclVersion = 2;
constexpr std::uint32_t kNoId = 0xffffffff;

[[noreturn]] void malformed(std::string_view entry) {
    throw Error(ErrorKind::data, "malformed tar: ACL entry '" + show_path(entry) + "'");
}

void append_le(std::string& out, std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i)
        out += static_cast<char>(value >> (8 * i));
}

std::uint16_t parse_permissions(std::string_view text, std::string_view entry) {
    std::uint16_t perm = 0;
    for (char c : text) {
        const auto bit = c == 'r' ? 4 : c == 'w' ? 2 : c == 'x' ? 1 : c == '-' ? 0 : -1;
        if (bit < 0 || text.size() > 3)
            malformed(entry);
        perm = static_cast<std::uint16_t>(perm | bit);
    }
    return perm;
}

std::optional<std::uint32_t> numeric_id(std::string_view text) {
    if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos)
        return std::nullopt;
    return static_cast<std::uint32_t>(parse_pax_number(text, kNoId - 1, "id in an ACL"));
}

AclTag parse_tag(std::string_view word, bool named, std::string_view entry) {
    if (word == "user" || word == "u")
        return named ? AclTag::user : AclTag::user_obj;
    if (word == "group" || word == "g")
        return named ? AclTag::group : AclTag::group_obj;
    if (!named && (word == "mask" || word == "m"))
        return AclTag::mask;
    if (!named && (word == "other" || word == "o"))
        return AclTag::other;
    malformed(entry);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (;;) {
        const auto at = text.find(separator);
        parts.push_back(text.substr(0, at));
        if (at == std::string_view::npos)
            return parts;
        text.remove_prefix(at + 1);
    }
}

/// One entry without blanks and comment; false: its name has no number.
bool parse_entry(std::string_view entry, AclEntry& out) {
    auto fields = split(entry, ':');
    if (fields.front() == "default" || fields.front() == "d")
        fields.erase(fields.begin());
    if (fields.size() == 2) // `other:r--`, `mask:rw-`
        fields.insert(fields.begin() + 1, std::string_view());
    if (fields.size() < 3 || fields.size() > 4)
        malformed(entry);
    out.tag = parse_tag(fields[0], !fields[1].empty(), entry);
    out.perm = parse_permissions(fields[2], entry);
    out.id = kNoId;
    if (fields[1].empty())
        return true;
    auto id = fields.size() == 4 ? numeric_id(fields[3]) : std::nullopt;
    if (!id)
        id = numeric_id(fields[1]);
    out.id = id.value_or(kNoId);
    return id.has_value();
}

} // namespace

std::string encode_acl_xattr(std::vector<AclEntry> entries) {
    std::sort(entries.begin(), entries.end(), [](const AclEntry& a, const AclEntry& b) {
        return std::tuple(a.tag, a.id) < std::tuple(b.tag, b.id);
    });
    std::string out;
    append_le(out, kAclVersion, 4);
    for (const auto& e : entries) {
        append_le(out, static_cast<std::uint32_t>(e.tag), 2);
        append_le(out, e.perm, 2);
        append_le(out, e.tag == AclTag::user || e.tag == AclTag::group ? e.id : kNoId, 4);
    }
    return out;
}

ParsedAcl parse_acl_text(std::string_view text) {
    ParsedAcl result;
    std::vector<AclEntry> entries;
    for (auto line : split(text, '\n'))
        for (auto item : split(line.substr(0, line.find('#')), ',')) {
            const auto begin = item.find_first_not_of(" \t");
            if (begin == std::string_view::npos)
                continue;
            item = item.substr(begin, item.find_last_not_of(" \t") - begin + 1);
            AclEntry entry;
            if (parse_entry(item, entry))
                entries.push_back(entry);
            else
                result.lost.push_back("ACL entry " + show_path(item));
        }
    if (!entries.empty())
        result.xattr = encode_acl_xattr(std::move(entries));
    return result;
}

} // namespace zl
