#include "inventory/replica_survey.hpp"

#include "base/endian.hpp"
#include "base/error.hpp"
#include "base/parallel.hpp"
#include "inventory/replica_data.hpp"
#include "stream/zstd_stream.hpp"
#include "wal/header_json.hpp"
#include "wal/replica_head.hpp"

#include <algorithm>
#include <atomic>
#include <set>
#include <tuple>

namespace zl {

void ReplicaSurvey::damage(const std::string& key, const std::string& what,
                           const std::string& affects, const std::string& advice) {
    std::lock_guard lock(mutex_);
    findings.push_back({true, subject_, key, what, affects, advice});
}

void ReplicaSurvey::note(const std::string& key, const std::string& what,
                         const std::string& affects) {
    std::lock_guard lock(mutex_);
    findings.push_back({false, subject_, key, what, affects, ""});
}

bool ReplicaSurvey::run(bool last) {
    read_metadata();
    zlayer = written_by_zlayer(c_.store, keys_, metadata);
    if (zlayer)
        return true;
    list();
    std::atomic<bool> all_there = true;
    parallel_for(sizes_.size(), c_.jobs, [&](std::size_t i) {
        c_.check_stop();
        const bool is_segment = i < segments.size();
        if (is_segment ? look(segments[i], sizes_[i]) : look(snapshots[i - segments.size()])) {
            c_.report.checked(c_.full ? sizes_[i] : 0);
        } else if (last) {
            auto& damaged =
                is_segment ? segments[i].damaged : snapshots[i - segments.size()].damaged;
            damaged = true;
            // What it led to is told by what cannot be restored without it.
            note(is_segment ? segments[i].key : snapshots[i - segments.size()].key,
                 "went away while it was looked at", "");
        } else {
            all_there = false;
        }
    });
    std::sort(segments.begin(), segments.end(), [](const auto& a, const auto& b) {
        return std::tie(a.link.range.last, a.link.range.first, a.merged) <
               std::tie(b.link.range.last, b.link.range.first, b.merged);
    });
    std::sort(snapshots.begin(), snapshots.end(), [](const auto& a, const auto& b) {
        return std::tie(a.link.range.last, a.key) < std::tie(b.link.range.last, b.key);
    });
    return all_there;
}

bool ReplicaSurvey::is_shrinking() const {
    std::set<std::string> there;
    for (const std::string& prefix : {keys_.snapshots(), keys_.segments(), keys_.merged_prefix()})
        c_.store.list(prefix, {}, [&](const ObjectInfo& o) {
            there.insert(o.key);
            return true;
        });
    auto gone = [&](const auto& s) { return !there.contains(s.key); };
    return std::any_of(segments.begin(), segments.end(), gone) ||
           std::any_of(snapshots.begin(), snapshots.end(), gone);
}

void ReplicaSurvey::read_metadata() {
    try {
        metadata = get_replica_metadata(c_.store, keys_);
        if (metadata)
            c_.report.checked(0);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        damage(keys_.metadata(), e.message(), "restores work without it",
               "the shipper writes it anew with its next snapshot");
    }
}

void ReplicaSurvey::list() {
    std::vector<std::uint64_t> of_snapshots;
    // Snapshots first: segments that lead to one of them are there before it is.
    c_.store.list(keys_.snapshots(), {}, [&](const ObjectInfo& o) {
        if (keys_.parse_snapshot(o.key)) {
            snapshots.push_back({.key = o.key});
            of_snapshots.push_back(o.size);
        } else {
            unknown.push_back(o.key);
        }
        return true;
    });
    // Singles before the merged ones: a segment that is merged meanwhile is seen in one of the two.
    c_.store.list(keys_.segments(), {}, [&](const ObjectInfo& o) {
        if (auto n = keys_.parse_segment(o.key)) {
            segments.push_back({.key = o.key});
            segments.back().link.range = {*n, *n};
            sizes_.push_back(o.size);
        } else {
            unknown.push_back(o.key);
        }
        return true;
    });
    c_.store.list(keys_.merged_prefix(), {}, [&](const ObjectInfo& o) {
        if (auto range = keys_.parse_merged(o.key)) {
            segments.push_back({.key = o.key, .merged = true});
            segments.back().link.range = *range;
            sizes_.push_back(o.size);
        } else {
            unknown.push_back(o.key);
        }
        return true;
    });
    sizes_.insert(sizes_.end(), of_snapshots.begin(), of_snapshots.end());
}

/// @p look_at: false when the object is gone.
template <class Look>
bool ReplicaSurvey::guarded(const std::string& key, bool& damaged, Look look_at) {
    try {
        return look_at();
    } catch (const Error& e) {
        if (e.kind() == ErrorKind::conflict)
            return false;
        if (e.kind() != ErrorKind::data)
            throw;
        damaged = true;
        damage(key, e.message(), "", kDamagedAdvice);
        return true;
    }
}

bool ReplicaSurvey::look(SurveyedSegment& s, std::uint64_t size) {
    return guarded(s.key, s.damaged, [&] {
        const std::string name = c_.store.describe(s.key);
        const auto header = get_segment_header(c_.store, s.key);
        if (!header)
            return false;
        const SequenceRange range{header->first_sequence, header->sequence};
        if (range != s.link.range || (header->kind == SegmentKind::merged) != s.merged)
            throw Error(ErrorKind::data,
                        name + ": its header is of segment " + std::to_string(header->sequence));
        if (size != kSegmentHeaderSize + header->body_size)
            throw Error(ErrorKind::data,
                        name + ": " + std::to_string(size) + " bytes, expected " +
                            std::to_string(kSegmentHeaderSize + header->body_size));
        s.link = link_of(*header);
        s.parent = header->parent;
        s.gap_from = header->gap_from;
        if (!c_.full)
            return true;
        const auto object = c_.store.head(s.key);
        if (object)
            verify_segment_data(c_.store, *object, *header, c_.progress, c_.stop);
        return object.has_value();
    });
}

bool ReplicaSurvey::look(SurveyedSnapshot& s) {
    return guarded(s.key, s.damaged, [&] {
        const auto index = get_snapshot_index(c_.store, s.key);
        if (!index)
            return false;
        if (keys_.parse_snapshot(s.key) != index->header.created_at)
            throw Error(ErrorKind::data, c_.store.describe(s.key) + ": its header is of " +
                                             keys_.snapshot(index->header.created_at));
        s.link = link_of(index->header);
        if (!c_.full)
            return true;
        const auto object = c_.store.head(s.key);
        if (object)
            verify_snapshot_data(c_.store, *object, index->header, c_.progress, c_.stop);
        return object.has_value();
    });
}

bool written_by_zlayer(ObjectStore& store, const ReplicaKeys& keys,
                       const std::optional<ReplicaMetadata>& metadata) {
    if (metadata)
        return metadata->foreign();
    std::optional<ObjectInfo> first;
    store.list(keys.segments(), {}, [&](const ObjectInfo& o) {
        if (keys.parse_segment(o.key) && o.size >= 4)
            first = o;
        return !first;
    });
    if (!first)
        return false;
    // Ours begin with a skippable frame.
    MemorySink sink;
    GetOptions options;
    options.range = ByteRange{0, 4};
    return store.get(first->key, sink, options) && sink.text.size() == 4 &&
           get_le32(as_bytes(sink.text).data()) == kZstdMagic;
}

} // namespace zl
