/// Keys of one database's replica, below `db/NAME/` (or --prefix as it stands).
///
///   snapshots/{timestamp}.sqlite.zst           `zstd -d` gives the database
///   wal/{sequence:020}.wal.zst                 one segment; `zstd -d` gives a WAL
///   merged/{first:020}-{last:020}.wal.zst      the same for a run of segments (extra: a restore by
///                                              hand does not need them)
///   metadata.json
#pragma once

#include "base/units.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace zl {

struct SequenceRange {
    std::uint64_t first = 0, last = 0;
    bool operator==(const SequenceRange&) const = default;
};

class ReplicaKeys {
public:
    /// @p prefix ends where the names above begin: `db/app/`.
    explicit ReplicaKeys(std::string prefix) : prefix_(std::move(prefix)) {}
    /// The prefix of NAME: `db/NAME/`. Throws usage as check_db_name() does.
    static ReplicaKeys of_name(const std::string& name);

    const std::string& prefix() const { return prefix_; }
    std::string metadata() const { return prefix_ + "metadata.json"; }
    std::string snapshots() const { return prefix_ + "snapshots/"; }
    std::string snapshot(TimePoint time) const;
    std::string segments() const { return prefix_ + "wal/"; }
    std::string segment(std::uint64_t sequence) const;
    std::string merged_prefix() const { return prefix_ + "merged/"; }
    std::string merged(SequenceRange range) const;

    // What a listed key stands for; nullopt: something else (of another tool, say).
    std::optional<TimePoint> parse_snapshot(std::string_view key) const;
    std::optional<std::uint64_t> parse_segment(std::string_view key) const;
    std::optional<SequenceRange> parse_merged(std::string_view key) const;

private:
    std::string prefix_;
};

} // namespace zl
