#include "inventory/database_rows.hpp"

#include "base/error.hpp"
#include "inventory/replica_survey.hpp"
#include "wal/replica_head.hpp"
#include "wal/restore_list.hpp"

#include <algorithm>

namespace zl {

DatabaseRow look_at_database(ObjectStore& store, const ReplicaKeys& keys, const std::string& name,
                             int jobs, std::stop_token stop, std::size_t max_headers) {
    DatabaseRow row;
    row.name = name;
    ReplicaCatalogue catalogue(store, keys);
    try {
        std::optional<ReplicaMetadata> metadata;
        try {
            metadata = get_replica_metadata(store, keys);
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::data)
                throw;
        }
        row.zlayer = written_by_zlayer(store, keys, metadata);
        if (row.zlayer) {
            row.problem = "written by zlayer-storage: zl does not restore it";
            return row;
        }
        row.ranges = list_restorable(catalogue, jobs, std::move(stop), max_headers);
        if (row.ranges.empty())
            row.problem = "no snapshot yet: nothing can be restored";
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        row.problem = e.message();
        row.damaged = true;
    }
    return row;
}

std::optional<TimePoint> newest_of_database(ObjectStore& store, const ReplicaKeys& keys) {
    std::optional<TimePoint> newest;
    auto take = [&](TimePoint t) { newest = std::max(newest.value_or(t), t); };
    try {
        const ReplicaHead head = read_replica_head(store, keys);
        if (head.metadata)
            take(head.metadata->last_modified);
        if (head.segment)
            take(head.segment->time);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw; // damaged: the snapshots tell how old it is
    }
    store.list(keys.snapshots(), {}, [&](const ObjectInfo& o) {
        if (auto t = keys.parse_snapshot(o.key))
            take(*t);
        return true;
    });
    return newest;
}

} // namespace zl
