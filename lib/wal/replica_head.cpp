#include "wal/replica_head.hpp"

#include "wal/header_json.hpp"
#include "wal/snapshot.hpp"

namespace zl {

namespace {

/// The last segment in wal/ from @p from on; 0: there is none.
std::uint64_t last_listed(ObjectStore& store, const ReplicaKeys& keys, std::uint64_t from) {
    ListOptions options;
    if (from > 1)
        options.start_after = keys.segment(from - 1);
    std::uint64_t last = 0;
    store.list(keys.segments(), options, [&](const ObjectInfo& o) {
        if (auto n = keys.parse_segment(o.key))
            last = std::max(last, *n);
        return true;
    });
    return last;
}

std::string get_first(ObjectStore& store, const std::string& key, std::uint64_t n) {
    MemorySink sink;
    GetOptions options;
    options.range = ByteRange{0, n};
    if (!store.get(key, sink, options))
        return {};
    return std::move(sink.text);
}

} // namespace

std::optional<SegmentHeader> get_segment_header(ObjectStore& store, const std::string& key) {
    std::string name = store.describe(key);
    MemorySink sink;
    GetOptions options;
    options.range = ByteRange{0, kSegmentHeaderSize};
    try {
        if (!store.get(key, sink, options))
            return std::nullopt;
    } catch (const Error& e) {
        // Shorter than a header: look at what it is, for the message.
        auto info = e.kind() == ErrorKind::data ? store.head(key) : std::nullopt;
        if (!info || info->size >= kSegmentHeaderSize)
            throw;
        sink.text = info->size ? get_first(store, key, info->size) : std::string();
    }
    return decode_segment_header(as_bytes(sink.text), name);
}

std::optional<SnapshotIndex> get_snapshot_index(ObjectStore& store, const std::string& key) {
    auto info = store.head(key);
    if (!info)
        return std::nullopt;
    auto read = [&](std::uint64_t offset, std::uint64_t n) {
        MemorySink sink;
        GetOptions options;
        options.range = ByteRange{offset, n};
        options.if_match = info->etag;
        if (!store.get(key, sink, options))
            throw Error(ErrorKind::conflict, store.describe(key) + ": vanished meanwhile");
        return std::move(sink.text);
    };
    return read_snapshot_index(info->size, store.describe(key), read);
}

ReplicaHead read_replica_head(ObjectStore& store, const ReplicaKeys& keys,
                              std::uint64_t confirmed) {
    ReplicaHead head;
    head.metadata = get_replica_metadata(store, keys);
    if (head.metadata && head.metadata->foreign())
        throw Error(ErrorKind::data,
                    store.describe(keys.metadata()) + ": no \"format\": not written by zl",
                    kZLayerHint);
    const std::uint64_t known = head.metadata ? head.metadata->latest_wal_sequence : 0;
    std::uint64_t last = last_listed(store, keys, known);
    confirmed = std::max(confirmed, known);
    if (last < confirmed && get_segment_header(store, keys.segment(confirmed)))
        last = confirmed;
    if (last == 0 && known != 0)
        throw Error(ErrorKind::data,
                    store.describe(keys.segment(known)) + ": missing, though " +
                        store.describe(keys.metadata()) + " names it",
                    "something else deleted objects of this replica (a lifecycle rule?); what "
                    "is left can be restored; ship to another NAME or --prefix from now on");
    if (last == 0)
        return head;
    head.segment = get_segment_header(store, keys.segment(last));
    if (!head.segment)
        throw Error(ErrorKind::transient, store.describe(keys.segment(last)) +
                                              ": listed, but not there: the listing is stale");
    if (head.segment->sequence != last || head.segment->kind == SegmentKind::merged)
        throw Error(ErrorKind::data, store.describe(keys.segment(last)) +
                                         ": its header is of segment " +
                                         std::to_string(head.segment->sequence));
    return head;
}

} // namespace zl
