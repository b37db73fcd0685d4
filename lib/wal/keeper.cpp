#include "wal/keeper.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "wal/replica_scan.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace zl {

namespace {

using Entry = CatalogueEntry;
using std::chrono::minutes;

/// Nothing closes a run faster than a window of 5 minutes or 64 segments.
constexpr Millis kLookEvery = minutes(1);
constexpr Millis kDeleteLookEvery = minutes(10);
constexpr std::size_t kDeletesPerStep = 100;
constexpr Entry::Kind kKinds[] = {Entry::Kind::segment, Entry::Kind::merged, Entry::Kind::snapshot};
constexpr Millis kLongest = std::chrono::days(36500);

std::uint64_t size_of(int fd) {
    struct stat st {};
    if (::fstat(fd, &st) != 0)
        throw sys_error("stat merged segment");
    return static_cast<std::uint64_t>(st.st_size);
}

std::optional<TimePoint> newest_time(const KeepCatalogue& c) {
    std::optional<TimePoint> newest;
    for (const auto* list : {&c.segments(), &c.merged(), &c.snapshots()})
        if (!list->empty())
            newest = std::max(newest.value_or(list->back().time), list->back().time);
    return newest;
}

} // namespace

ReplicaKeeper::ReplicaKeeper(ObjectStore& store, const ReplicaKeys& keys, ShipState& state,
                             Options options, Log& log)
    : store_(store), keys_(keys), state_(state), options_(std::move(options)), log_(log),
      age_clock_(state, log, options_.clock, options_.boot) {
    if (!options_.clock)
        options_.clock = now_wall;
    options_.fine = std::min(options_.fine, kLongest);
    if (options_.retain)
        options_.retain = std::min(*options_.retain, kLongest);
}

bool ReplicaKeeper::step(std::stop_token stop) {
    if (merges_.empty() && deletes_.empty() && !look())
        return false;
    try {
        if (!merges_.empty()) {
            merge(merges_.front(), stop);
            merges_.pop_front();
        } else {
            remove_some(stop);
        }
    } catch (...) {
        // The catalogue decides anew; what failed is in it still.
        merges_.clear();
        deletes_.clear();
        looked_at_.reset();
        throw;
    }
    return true;
}

void ReplicaKeeper::bootstrap() {
    if (state_.note("catalogue"))
        return;
    std::set<std::string> known;
    for (auto kind : kKinds)
        state_.visit_entries(kind, [&](const Entry& e) { known.insert(e.key); });
    // The listing begins after that: what is known and not listed is gone.
    ReplicaObjects found = scan_replica(store_, keys_, log_);
    for (auto* list : {&found.segments, &found.merged, &found.snapshots}) {
        // What we know is more exact: times, levels.
        std::erase_if(*list, [&](const Entry& e) { return known.erase(e.key) != 0; });
        state_.add_entries(*list);
    }
    state_.remove_entries({known.begin(), known.end()});
    state_.set_note("catalogue", "listed");
    merges_.clear();
    deletes_.clear();
    looked_at_.reset();
}

/// Plans; false: nothing is due.
bool ReplicaKeeper::look() {
    TimePoint now = options_.clock();
    // A clock that was set back must not stop us for long.
    if (now < next_look_ && next_look_ - now <= kLookEvery)
        return false;
    std::uint64_t head = state_.acknowledged().sequence;
    bool new_segments = head != looked_at_;
    bool delete_due = options_.retain && may_delete_ &&
                      (now >= next_delete_look_ || next_delete_look_ - now > kDeleteLookEvery);
    if (new_segments || delete_due) {
        KeepCatalogue c(keys_);
        for (auto kind : kKinds)
            state_.visit_entries(kind, [&](const Entry& e) { c.add(e, alone_.contains(e.key)); });
        for (PlannedMerge& m : plan_merges(c, options_.max_merge_bytes))
            merges_.push_back(std::move(m));
        // What is merged now may make more deletable: first the one, then the other.
        if (delete_due && merges_.empty()) {
            if (auto believed = age_clock_.now(newest_time(c)))
                for (Entry& e : plan_deletes(c, {*options_.retain, options_.fine, *believed, head}))
                    deletes_.push_back(std::move(e));
            if (deletes_.empty())
                next_delete_look_ = now + kDeleteLookEvery;
        }
        looked_at_ = head;
    }
    if (!merges_.empty() || !deletes_.empty()) {
        looked_at_.reset(); // the result may be merged in turn
        return true;
    }
    next_look_ = now + kLookEvery;
    return false;
}

// ---------------------------------------------------------------------------------------- merging

void ReplicaKeeper::merge(const PlannedMerge& plan, std::stop_token stop) {
    auto sources = fetch(plan, stop);
    if (!sources)
        return; // the next look sees the run without what was in the way
    std::string host = sources->back().header.host;
    UniqueFd out = unnamed_file(state_.directory());
    SegmentHeader header =
        merge_segments(std::move(*sources), out.get(), state_.directory(), state_.writer(), host);
    store_merged(out.get(), header);
    crash_point("keep.merged");
    Entry entry;
    entry.kind = Entry::Kind::merged;
    entry.key = keys_.merged(plan.range());
    entry.generation = header.generation;
    entry.range = plan.range();
    entry.time = plan.sources.back().time;
    entry.size = size_of(out.get());
    entry.level = plan.level;
    state_.add_entry(entry);
    log_.debug("merged segments " + std::to_string(entry.range.first) + " to " +
               std::to_string(entry.range.last) + ": " + format_size(entry.size));
}

std::optional<std::vector<MergeSource>> ReplicaKeeper::fetch(const PlannedMerge& plan,
                                                             std::stop_token stop) {
    std::vector<MergeSource> sources;
    for (const Entry& e : plan.sources) {
        if (stop.stop_requested())
            throw Interrupted();
        auto source = fetch(e, sources.empty() ? nullptr : &sources.back().header);
        if (!source)
            return std::nullopt;
        sources.push_back(std::move(*source));
    }
    return sources;
}

/// nullopt: it cannot be merged with what is before it, and the catalogue or alone_ says so now.
std::optional<MergeSource> ReplicaKeeper::fetch(const Entry& e, const SegmentHeader* before) {
    MergeSource source{unnamed_file(state_.directory()), {}, store_.describe(e.key)};
    FdSink sink(source.fd.get(), source.name);
    if (!store_.get(e.key, sink)) {
        warn_once(e.key, source.name + " is gone from the store");
        state_.remove_entry(e.key);
        return std::nullopt;
    }
    std::string why;
    try {
        source.header = verify_segment_file(source.fd.get(), source.name);
        if (source.header.first_sequence != e.range.first || source.header.sequence != e.range.last)
            why = "it holds other segments than its key says";
        else if (source.header.generation != e.generation)
            why = "it is of generation " + source.header.generation + ", not " + e.generation;
        if (!why.empty())
            warn_once(e.key, source.name + ": " + why);
        else
            why = not_mergeable(before, source.header);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::data)
            throw;
        warn_once(e.key, std::string("damaged in the store: ") + error.what());
        if (e.kind == Entry::Kind::merged) {
            // It must not stand for what it covers. If that is still there, it is made anew.
            state_.remove_entry(e.key);
            return std::nullopt;
        }
        why = error.what();
    }
    if (why.empty())
        return source;
    log_.debug(source.name + " is not merged: " + why);
    set_alone(e);
    return std::nullopt;
}

void ReplicaKeeper::set_alone(const Entry& e) {
    if (e.kind == Entry::Kind::segment) {
        Entry entry = e;
        entry.level = kStandsAlone;
        state_.add_entry(entry);
    }
    alone_.insert(e.key);
}

void ReplicaKeeper::store_merged(int fd, const SegmentHeader& header) {
    std::string key = keys_.merged({header.first_sequence, header.sequence});
    FileBody body(fd, 0, size_of(fd), key);
    PutOptions options;
    options.if_none_match = store_.conditional_allowed();
    try {
        store_.put(key, body, options);
        return;
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::conflict && e.kind() != ErrorKind::unsupported)
            throw;
        if (e.kind() == ErrorKind::conflict && is_there(header))
            return;
    }
    // No conditions here, or what is there is damaged: ours is made of the same segments.
    options.if_none_match = false;
    store_.put(key, body, options);
}

/// Whether the object of this range, which exists, is whole and says the same.
bool ReplicaKeeper::is_there(const SegmentHeader& header) {
    std::string key = keys_.merged({header.first_sequence, header.sequence});
    UniqueFd fd = unnamed_file(state_.directory());
    FdSink sink(fd.get(), key);
    if (!store_.get(key, sink))
        return false;
    try {
        SegmentHeader there = verify_segment_file(fd.get(), store_.describe(key));
        return there.kind == SegmentKind::merged && there.generation == header.generation &&
               there.first_sequence == header.first_sequence && there.sequence == header.sequence &&
               there.prev == header.prev && there.last == header.last &&
               there.page_count == header.page_count && there.frames == header.frames &&
               there.checksum_after == header.checksum_after;
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        log_.warn(std::string(e.what()) + ": written anew");
        return false;
    }
}

// --------------------------------------------------------------------------------------- deleting

void ReplicaKeeper::remove_some(std::stop_token stop) {
    for (std::size_t n = 0; n < kDeletesPerStep && !deletes_.empty(); ++n) {
        if (stop.stop_requested())
            throw Interrupted();
        const Entry& e = deletes_.front();
        try {
            store_.remove(e.key);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::denied)
                throw;
            may_delete_ = false;
            deletes_.clear();
            log_.warn(std::string("nothing is deleted by age: ") + error.what());
            return;
        }
        crash_point("keep.deleted");
        state_.remove_entry(e.key);
        deletes_.pop_front();
    }
}

void ReplicaKeeper::warn_once(const std::string& key, const std::string& message) {
    if (warned_.insert(key).second)
        log_.warn(message);
}

} // namespace zl
