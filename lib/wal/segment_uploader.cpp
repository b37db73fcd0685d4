#include "wal/segment_uploader.hpp"

#include "base/crash_point.hpp"
#include "base/file.hpp"
#include "wal/replica_clock.hpp"

#include <fcntl.h>

namespace zl {

namespace {

/// `db/shop/web1/` -> `shop/web1`
std::string name_of(const ReplicaKeys& keys) {
    std::string name = keys.prefix();
    while (name.ends_with("/"))
        name.pop_back();
    return name.starts_with("db/") ? name.substr(3) : name;
}

Error fenced(const ReplicaKeys& keys, ShipState& state, const std::string& whose,
             const std::string& where) {
    auto waiting = state.queue_size();
    return Error(ErrorKind::fenced, name_of(keys) + " belongs to " + whose + " (" + where + ")",
                 "nothing was changed in the store; " + std::to_string(waiting.segments) +
                     " segments that were not sent wait in " + state.directory() +
                     "; if this host is the one to go on, stop the other and start this with "
                     "--take-over, else give this database another --name (zl-walship(1))");
}

Error fenced_by(const ReplicaKeys& keys, ShipState& state, const SegmentHeader& theirs) {
    // The same cache directory on two hosts (a cloned volume), or one set back to an older copy.
    std::string copy = theirs.writer == state.writer() ? ", a copy of this cache directory" : "";
    return fenced(keys, state, theirs.host + " since " + format_rfc3339(theirs.time),
                  "segment " + std::to_string(theirs.sequence) + " is by writer " + theirs.writer +
                      copy);
}

Error lost_segments(ObjectStore& store, const ReplicaKeys& keys, const QueuedSegment& acknowledged,
                    const std::string& found) {
    return Error(ErrorKind::data,
                 "replica lost segments: " + store.describe(keys.prefix()) + " " + found +
                     ", but segment " + std::to_string(acknowledged.sequence) + " was confirmed",
                 "nothing was changed; if the objects cannot be brought back, --take-over begins "
                 "anew with a snapshot of the database");
}

} // namespace

SegmentUploader::SegmentUploader(ObjectStore& store, const ReplicaKeys& keys, ShipState& state,
                                 Options options, Log& log)
    : store_(store), keys_(keys), state_(state), options_(std::move(options)), log_(log) {
    if (!options_.boot_clock)
        options_.boot_clock = boot_time;
}

void SegmentUploader::head_confirmed() {
    confirmed_at_ = options_.boot_clock();
}

bool SegmentUploader::send_next(std::uint64_t up_to) {
    auto next = state_.begin_sending(up_to);
    if (!next)
        return false;
    auto begun = options_.boot_clock();
    if (!confirmed_at_ || begun - *confirmed_at_ > options_.recheck_head) {
        check_head(*next);
        confirmed_at_ = begun;
    }
    std::string key = keys_.segment(next->sequence);
    // A PUT whose reply was lost: a small GET is cheaper than sending all of it into a 412.
    bool stored = (next->attempted || !options_.conditional) && is_stored(*next, key);
    if (!options_.conditional)
        check_previous(*next); // another who came in between is not to be overwritten any further
    if (!stored)
        put(*next, key);
    if (!options_.conditional)
        check_written(*next);
    crash_point("ship.stored");
    state_.acknowledge(next->sequence, key);
    confirmed_at_ = begun; // not the time of the reply: who knows how long it was on its way
    log_.debug("segment " + std::to_string(next->sequence) + (stored ? " was" : "") + " stored (" +
               format_size(next->size) + ")");
    return true;
}

bool SegmentUploader::is_stored(const QueuedSegment& segment, const std::string& key) {
    auto header = get_segment_header(store_, key);
    if (header && header->id() != segment.id)
        throw fenced_by(keys_, state_, *header);
    return header.has_value();
}

void SegmentUploader::put(const QueuedSegment& segment, const std::string& key) {
    std::string path = state_.queued_path(segment.sequence);
    UniqueFd fd = open_queued(segment, path);
    state_.mark_attempted(segment.sequence);
    crash_point("ship.attempted");
    PutOptions options;
    options.content_type = "application/zstd";
    options.if_none_match = options_.conditional;
    try {
        store_.put(key, FileBody(fd.get(), 0, segment.size, path), options);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::conflict)
            throw;
        // Ours after all (the store's client sent it twice), another's, or (409) undecided yet.
        if (!is_stored(segment, key))
            throw Error(ErrorKind::transient, e.message(), e.hint());
    }
}

/// What is sent must be what was captured: the last moment at which a rotten file does no harm.
UniqueFd SegmentUploader::open_queued(const QueuedSegment& segment, const std::string& path) {
    std::string hint =
        "nothing was sent; stop the shipper, remove that file and start again: a new "
        "generation begins with the newest state of the database, only moments "
        "from this segment on until then are lost";
    try {
        UniqueFd fd = open_file(path, O_RDONLY);
        SegmentHeader header = verify_segment_file(fd.get(), path);
        if (header.id() != segment.id || kSegmentHeaderSize + header.body_size != segment.size)
            throw Error(ErrorKind::data, path + ": is not the segment that was captured");
        return fd;
    } catch (Error& e) {
        if (e.kind() == ErrorKind::not_found)
            e.with_kind(ErrorKind::data);
        if (e.kind() == ErrorKind::data)
            e.with_hint(hint);
        throw;
    }
}

void SegmentUploader::check_head(const QueuedSegment& next) {
    QueuedSegment acknowledged = state_.acknowledged();
    ReplicaHead head = read_replica_head(store_, keys_, acknowledged.sequence);
    // Without an id: a replica that vanished is begun anew, with numbers after the old ones.
    if (head.sequence() < acknowledged.sequence && acknowledged.id != Digest{})
        throw lost_segments(store_, keys_, acknowledged,
                            head.segment ? "ends at segment " + std::to_string(head.sequence())
                                         : "has no segment");
    if (!head.segment) {
        if (head.metadata && !head.metadata->released && head.metadata->writer != state_.writer())
            throw fenced(keys_, state_,
                         head.metadata->host + " since " +
                             format_rfc3339(head.metadata->last_modified),
                         "metadata.json is by writer " + head.metadata->writer);
        return;
    }
    if (head.sequence() == acknowledged.sequence && head.segment->id() == acknowledged.id)
        return;
    // Beyond what was confirmed: ours when a reply was lost. By the chain of headers all before it
    // is ours then, too.
    auto queued = state_.queued(head.sequence());
    if (queued && queued->id == head.segment->id())
        return;
    // `since` is told by the first segment that is not ours.
    auto first = get_segment_header(store_, keys_.segment(next.sequence));
    bool theirs = first && first->id() != next.id;
    throw fenced_by(keys_, state_, theirs ? *first : *head.segment);
}

void SegmentUploader::check_written(const QueuedSegment& segment) {
    if (!is_stored(segment, keys_.segment(segment.sequence)))
        throw lost_segments(store_, keys_, segment,
                            "has no segment " + std::to_string(segment.sequence));
    check_previous(segment);
}

void SegmentUploader::check_previous(const QueuedSegment& segment) {
    QueuedSegment acknowledged = state_.acknowledged();
    if (acknowledged.id == Digest{} || acknowledged.sequence + 1 != segment.sequence)
        return;
    if (!is_stored(acknowledged, keys_.segment(acknowledged.sequence)))
        throw lost_segments(store_, keys_, acknowledged,
                            "has no segment " + std::to_string(acknowledged.sequence));
}

} // namespace zl
