#include "wal/replica_scan.hpp"

#include "base/error.hpp"
#include "wal/merge_plan.hpp"
#include "wal/replica_head.hpp"
#include "wal/snapshot.hpp"

#include <algorithm>

namespace zl {

namespace {

using Entry = CatalogueEntry;

/// Ranges of a level hold at most so many segments (merge_plan.hpp): what holds more is of a higher
/// one.
constexpr std::uint64_t kMostInLevel1 = 64, kMostInLevel2 = 64 * 16;

class Scanner {
public:
    Scanner(ObjectStore& store, const ReplicaKeys& keys, Log& log)
        : store_(store), keys_(keys), log_(log) {}

    ReplicaObjects run() {
        // Singles before merged ones: a segment that is merged and deleted meanwhile is seen in
        // one.
        list_objects();
        find_generations();
        ReplicaObjects c;
        for (Entry& e : objects_)
            if (!e.generation.empty())
                (e.kind == Entry::Kind::merged ? c.merged : c.segments).push_back(std::move(e));
        guess_levels(c.merged);
        read_snapshots(c.snapshots);
        return c;
    }

private:
    void list_objects() {
        auto add = [&](const ObjectInfo& o, SequenceRange range, Entry::Kind kind) {
            objects_.push_back({kind, o.key, {}, range, o.last_modified, o.size, 0});
        };
        store_.list(keys_.segments(), {}, [&](const ObjectInfo& o) {
            if (auto n = keys_.parse_segment(o.key))
                add(o, {*n, *n}, Entry::Kind::segment);
            return true;
        });
        store_.list(keys_.merged_prefix(), {}, [&](const ObjectInfo& o) {
            if (auto range = keys_.parse_merged(o.key))
                add(o, *range, Entry::Kind::merged);
            return true;
        });
        std::sort(objects_.begin(), objects_.end(), [](const Entry& a, const Entry& b) {
            return a.range.last != b.range.last ? a.range.last < b.range.last : a.key < b.key;
        });
    }

    /// Its header's generation; empty: it is gone, damaged or not what its key says.
    const std::string& read_generation(std::size_t i) {
        Entry& e = objects_[i];
        try {
            if (auto h = get_segment_header(store_, e.key))
                if (h->first_sequence == e.range.first && h->sequence == e.range.last)
                    e.generation = h->generation;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::data)
                throw;
            log_.warn(std::string("left alone: ") + error.what());
        }
        return e.generation;
    }

    void find_generations() {
        std::size_t begin = 0, end = objects_.size();
        while (begin < end && read_generation(begin).empty())
            ++begin;
        while (end > begin + 1 && read_generation(end - 1).empty())
            --end;
        if (begin < end)
            fill(begin, end - 1);
    }

    /// The generations of both ends are known.
    void fill(std::size_t low, std::size_t high) {
        if (objects_[low].generation == objects_[high].generation) {
            for (std::size_t i = low + 1; i < high; ++i)
                objects_[i].generation = objects_[low].generation;
            return;
        }
        // The middle, or the next that can be read.
        std::size_t middle = low + (high - low) / 2;
        if (middle == low)
            return;
        std::size_t i = middle;
        while (i < high && read_generation(i).empty())
            ++i;
        if (i < high)
            return fill(low, i), fill(i, high);
        while (middle > low + 1 && read_generation(middle - 1).empty())
            --middle;
        if (middle > low + 1)
            fill(low, middle - 1);
    }

    /// Smaller ranges first: one is a level above the highest that lies within it.
    static void guess_levels(std::vector<Entry>& merged) {
        std::vector<Entry*> by_size;
        for (Entry& e : merged)
            by_size.push_back(&e);
        auto count = [](const Entry& e) { return e.range.last - e.range.first + 1; };
        std::stable_sort(by_size.begin(), by_size.end(),
                         [&](const Entry* a, const Entry* b) { return count(*a) < count(*b); });
        for (std::size_t i = 0; i < by_size.size(); ++i) {
            Entry& e = *by_size[i];
            e.level = count(e) > kMostInLevel2 ? 3 : count(e) > kMostInLevel1 ? 2 : 1;
            for (std::size_t j = 0; j < i; ++j)
                if (const Entry& in = *by_size[j]; in.range != e.range &&
                                                   in.range.first >= e.range.first &&
                                                   in.range.last <= e.range.last)
                    e.level = std::max(e.level, in.level + 1);
            e.level = std::min(e.level, kMaxMergeLevel);
        }
    }

    void read_snapshots(std::vector<Entry>& out) {
        std::vector<ObjectInfo> listed;
        store_.list(keys_.snapshots(), {}, [&](const ObjectInfo& o) {
            if (keys_.parse_snapshot(o.key))
                listed.push_back(o);
            return true;
        });
        for (const ObjectInfo& o : listed)
            try {
                if (auto index = get_snapshot_index(store_, o.key)) {
                    const SnapshotHeader& h = index->header;
                    out.push_back({Entry::Kind::snapshot,
                                   o.key,
                                   h.generation,
                                   {h.sequence, h.sequence},
                                   h.time,
                                   o.size,
                                   0});
                }
            } catch (const Error& e) {
                if (e.kind() != ErrorKind::data)
                    throw;
                log_.warn(std::string("left alone: ") + e.what());
            }
    }

    ObjectStore& store_;
    const ReplicaKeys& keys_;
    Log& log_;
    std::vector<Entry> objects_; ///< segments and merged ones, ascending by last
};

} // namespace

ReplicaObjects scan_replica(ObjectStore& store, const ReplicaKeys& keys, Log& log) {
    return Scanner(store, keys, log).run();
}

} // namespace zl
