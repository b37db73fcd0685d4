#include "wal/replica_keys.hpp"

#include "store/name.hpp"

#include <algorithm>
#include <charconv>

namespace zl {

namespace {

constexpr std::string_view kSegmentEnd = ".wal.zst";
constexpr std::string_view kSnapshotEnd = ".sqlite.zst";
constexpr std::size_t kDigits = 20;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

std::string padded(std::uint64_t n) {
    std::string digits = std::to_string(n);
    return std::string(kDigits - digits.size(), '0') + digits;
}

/// Exactly 20 digits, 1 or more; 0 if it is none.
std::uint64_t parse_padded(std::string_view text) {
    std::uint64_t n = 0;
    if (text.size() != kDigits || !std::all_of(text.begin(), text.end(), is_digit))
        return 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    return error == std::errc() ? n : 0; // 20 digits may be more than 64 bits
}

/// @p key without @p start and @p end; nullopt if it does not have them.
std::optional<std::string_view> between(std::string_view key, const std::string& start,
                                        std::string_view end) {
    if (key.size() < start.size() + end.size() || !key.starts_with(start) || !key.ends_with(end))
        return std::nullopt;
    return key.substr(start.size(), key.size() - start.size() - end.size());
}

} // namespace

ReplicaKeys ReplicaKeys::of_name(const std::string& name) {
    check_db_name(name);
    return ReplicaKeys("db/" + name + "/");
}

std::string ReplicaKeys::snapshot(TimePoint time) const {
    return snapshots() + format_key_time(time) + std::string(kSnapshotEnd);
}

std::string ReplicaKeys::segment(std::uint64_t sequence) const {
    return segments() + padded(sequence) + std::string(kSegmentEnd);
}

std::string ReplicaKeys::merged(SequenceRange range) const {
    return merged_prefix() + padded(range.first) + "-" + padded(range.last) +
           std::string(kSegmentEnd);
}

std::optional<TimePoint> ReplicaKeys::parse_snapshot(std::string_view key) const {
    auto text = between(key, snapshots(), kSnapshotEnd);
    return text ? parse_key_time(*text) : std::nullopt;
}

std::optional<std::uint64_t> ReplicaKeys::parse_segment(std::string_view key) const {
    auto text = between(key, segments(), kSegmentEnd);
    std::uint64_t n = text ? parse_padded(*text) : 0;
    return n ? std::optional(n) : std::nullopt;
}

std::optional<SequenceRange> ReplicaKeys::parse_merged(std::string_view key) const {
    auto text = between(key, merged_prefix(), kSegmentEnd);
    if (!text || text->size() != 2 * kDigits + 1 || (*text)[kDigits] != '-')
        return std::nullopt;
    SequenceRange r{parse_padded(text->substr(0, kDigits)),
                    parse_padded(text->substr(kDigits + 1))};
    return r.first && r.first <= r.last ? std::optional(r) : std::nullopt;
}

} // namespace zl
