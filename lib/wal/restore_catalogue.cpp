#include "wal/restore_catalogue.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <tuple>

namespace zl {

namespace {

constexpr int kMaxVanished = 5;

} // namespace

bool ReplicaCatalogue::exists() {
    // With a delimiter: below db/app/ may also lie app/1, another name.
    ListOptions options;
    options.delimiter = true;
    bool found = false;
    store_.list(keys_.prefix(), options, [&](const ObjectInfo& o) {
        found = o.key == keys_.metadata() || o.key == keys_.snapshots() ||
                o.key == keys_.segments() || o.key == keys_.merged_prefix();
        return !found;
    });
    return found;
}

const std::optional<ReplicaMetadata>& ReplicaCatalogue::metadata() {
    if (metadata_)
        return *metadata_;
    metadata_.emplace();
    try {
        *metadata_ = get_replica_metadata(store_, keys_);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
    }
    if (*metadata_ && (*metadata_)->foreign())
        throw Error(
            ErrorKind::data,
            store_.describe(keys_.metadata()) + ": no \"format\": not written by zl",
            "this looks like a replica of zlayer-storage; what can be had of it by hand is in "
            "zl-recovery(7), the newest snapshot: zstd -d of " +
                (*metadata_)->latest_snapshot);
    return *metadata_;
}

std::vector<ReplicaCatalogue::Snapshot> ReplicaCatalogue::snapshots() {
    std::vector<Snapshot> out;
    store_.list(keys_.snapshots(), {}, [&](const ObjectInfo& o) {
        if (auto time = keys_.parse_snapshot(o.key); time && !is_damaged(o.key))
            out.push_back({o.key, *time, o.size});
        return true;
    });
    std::sort(out.begin(), out.end(), [](const Snapshot& a, const Snapshot& b) {
        return std::tie(a.time, a.key) < std::tie(b.time, b.key);
    });
    return out;
}

std::vector<ReplicaCatalogue::Object> ReplicaCatalogue::objects(std::uint64_t after,
                                                                std::uint64_t up_to) {
    std::vector<Object> out;
    auto take = [&](SequenceRange range, const ObjectInfo& o, bool merged) {
        if (range.first > up_to)
            return false;
        if (range.first > after && !is_damaged(o.key))
            out.push_back({range, o.size, merged});
        return true;
    };
    ListOptions singles;
    if (after)
        singles.start_after = keys_.segment(after);
    store_.list(keys_.segments(), singles, [&](const ObjectInfo& o) {
        auto n = keys_.parse_segment(o.key);
        return !n || take({*n, *n}, o, false);
    });
    ListOptions merged;
    if (after) // behind all whose first is `after`: their last has 20 digits
        merged.start_after = keys_.merged({after, UINT64_MAX});
    store_.list(keys_.merged_prefix(), merged, [&](const ObjectInfo& o) {
        auto range = keys_.parse_merged(o.key);
        return !range || take(*range, o, true);
    });
    std::sort(out.begin(), out.end(), [](const Object& a, const Object& b) {
        return std::tie(a.range.first, a.range.last, a.merged) <
               std::tie(b.range.first, b.range.last, b.merged);
    });
    return out;
}

std::string ReplicaCatalogue::key(const Object& object) const {
    return object.merged ? keys_.merged(object.range) : keys_.segment(object.range.last);
}

const SegmentHeader& ReplicaCatalogue::header(const Object& object) {
    const std::string k = key(object);
    {
        std::lock_guard lock(mutex_);
        if (auto found = headers_.find(k); found != headers_.end())
            return found->second;
    }
    std::optional<SegmentHeader> header;
    try {
        header = get_segment_header(store_, k);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        exclude(k, e.message());
        throw PlanAgain();
    }
    if (!header) {
        vanished(k);
        throw PlanAgain();
    }
    if (header->first_sequence != object.range.first || header->sequence != object.range.last ||
        (header->kind == SegmentKind::merged) != object.merged) {
        exclude(k, store_.describe(k) + ": its header is of segment " +
                       std::to_string(header->sequence));
        throw PlanAgain();
    }
    std::lock_guard lock(mutex_);
    return headers_.try_emplace(k, std::move(*header)).first->second;
}

const SnapshotIndex& ReplicaCatalogue::index(const Snapshot& snapshot) {
    {
        std::lock_guard lock(mutex_);
        if (auto found = indexes_.find(snapshot.key); found != indexes_.end())
            return found->second;
    }
    std::optional<SnapshotIndex> index;
    try {
        index = get_snapshot_index(store_, snapshot.key);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data && e.kind() != ErrorKind::conflict)
            throw;
        if (e.kind() == ErrorKind::data) {
            exclude(snapshot.key, e.message());
            throw PlanAgain();
        }
    }
    if (!index) {
        vanished(snapshot.key);
        throw PlanAgain();
    }
    std::lock_guard lock(mutex_);
    return indexes_.try_emplace(snapshot.key, std::move(*index)).first->second;
}

void ReplicaCatalogue::exclude(const std::string& key, std::string reason) {
    std::lock_guard lock(mutex_);
    damaged_.try_emplace(key, std::move(reason));
}

void ReplicaCatalogue::vanished(const std::string& key) {
    {
        std::lock_guard lock(mutex_);
        if (++vanished_ <= kMaxVanished)
            return;
    }
    exclude(key, store_.describe(key) + ": listed, but not there");
}

std::optional<SequenceRange> ReplicaCatalogue::range_of(const std::string& key) const {
    if (auto n = keys_.parse_segment(key))
        return SequenceRange{*n, *n};
    return keys_.parse_merged(key);
}

bool ReplicaCatalogue::is_damaged(const std::string& key) const {
    std::lock_guard lock(mutex_);
    return damaged_.contains(key);
}

} // namespace zl
