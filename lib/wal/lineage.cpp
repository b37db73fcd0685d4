#include "wal/lineage.hpp"

#include "base/error.hpp"
#include "base/random.hpp"

#include <algorithm>

namespace zl {

namespace {

// Notes in the state.
constexpr const char* kDbId = "db_id";
constexpr const char* kGeneration = "generation";    // the newest
constexpr const char* kClaim = "claim_sequence";     // of that
constexpr const char* kOpened = "opened_generation"; // has a snapshot that metadata names
constexpr const char* kGapFrom = "gap_from";

/// A branch right after @p last.
Fork fork_from(const QueuedSegment& last) {
    Fork fork;
    fork.parent = last.generation;
    fork.fork_sequence = last.sequence;
    fork.claim_sequence = last.sequence + 1;
    fork.prev = last.id;
    fork.after = last.time;
    return fork;
}

} // namespace

Lineage::Lineage(Capture& capture, ShipState& state, Options options, Log& log)
    : capture_(capture), state_(state), options_(std::move(options)), log_(log) {}

void Lineage::identify(const std::string& db_id, const std::string& generation) {
    state_.set_note(kDbId, db_id);
    state_.set_note(kGeneration, generation);
    capture_.set_identity({db_id, generation, state_.writer(), options_.host});
}

bool Lineage::ours(const SegmentHeader& head) {
    const Digest id = head.id();
    if (state_.acknowledged().sequence == head.sequence && state_.acknowledged().id == id)
        return true;
    auto oldest = state_.oldest();
    return oldest && oldest->attempted && oldest->sequence == head.sequence && oldest->id == id;
}

void Lineage::settle(const ReplicaHead& head, Capture::Continuity continuity,
                     const std::string& reason) {
    if (!head.segment) {
        if (state_.acknowledged().sequence == 0 && capture_.position() && !head.metadata)
            return go_on(continuity, reason); // its claim still waits
        return first_generation(head);
    }
    const SegmentHeader& last = *head.segment;
    if (ours(last)) {
        if (capture_.position())
            return go_on(continuity, reason);
        return new_generation(fork_from(state_.newest()), "the cache directory lost its place");
    }
    const bool own = last.writer == state_.writer();
    if (own && last.sequence < state_.acknowledged().sequence)
        throw Error(ErrorKind::data,
                    "the replica of " + options_.name + " lost segments: it ends at " +
                        std::to_string(last.sequence) + ", and " +
                        std::to_string(state_.acknowledged().sequence) + " was confirmed",
                    "nothing was changed. Somebody deleted them, or an older copy of the store is "
                    "in place; --take-over from an empty cache directory begins a new generation");
    if (capture_.equals(last)) {
        state_.drop_queue();
        state_.clear_note("catalogue"); // others wrote: the keeper looks at what is there
        capture_.adopt(last);
        identify(last.db_id, last.generation);
        const bool named = head.metadata && head.metadata->generation == last.generation &&
                           !head.metadata->latest_snapshot.empty();
        state_.set_note(kClaim, std::to_string(last.sequence));
        state_.set_note(kOpened, named ? last.generation : "");
        state_.clear_note(kGapFrom);
        log_.info("the database equals segment " + std::to_string(last.sequence) +
                  " of the replica: going on from there");
        return;
    }
    const bool released =
        head.metadata && head.metadata->released && head.metadata->writer == last.writer;
    if (!own && !released && !options_.take_over)
        throw Error(ErrorKind::fenced,
                    options_.name + " belongs to " + last.host + " since " +
                        format_rfc3339(last.time) + ", and this database is not a copy of it",
                    "nothing was changed. To follow it, restore first (zl-restore); to put this "
                    "database in its place, say --take-over: the other history stays restorable");
    const QueuedSegment known = state_.acknowledged();
    QueuedSegment parent;
    parent.sequence = last.sequence;
    parent.id = last.id();
    parent.generation = last.generation;
    parent.kind = last.kind;
    parent.time = last.time;
    Fork fork = fork_from(parent);
    fork.fork_sequence = own && known.generation == last.generation ? known.sequence : 0;
    state_.drop_queue();
    state_.adopt(parent);
    state_.clear_note("catalogue");
    state_.set_note(kDbId, last.db_id);
    new_generation(fork, own        ? "the replica is ahead of this volume"
                         : released ? "the former writer released the name"
                                    : "taken over");
}

void Lineage::first_generation(const ReplicaHead& head) {
    const std::uint64_t known = state_.acknowledged().sequence;
    const std::uint64_t named = head.metadata ? head.metadata->latest_wal_sequence : 0;
    if (known > 0 && !options_.take_over)
        throw Error(ErrorKind::data,
                    "the replica of " + options_.name + " is gone: segment " +
                        std::to_string(known) + " was confirmed, and the store has none now",
                    "a missing mount or another bucket looks like that. Nothing was changed; "
                    "--take-over begins a new history there");
    state_.drop_queue();
    QueuedSegment before = state_.acknowledged();
    if (known > 0 || named > 0) { // those numbers are used up, but no such object is there
        before.sequence = std::max(known, named);
        before.id = {};
        before.generation.clear();
        state_.adopt(before);
        std::vector<std::string> gone;
        for (auto kind : {CatalogueEntry::Kind::segment, CatalogueEntry::Kind::merged,
                          CatalogueEntry::Kind::snapshot})
            state_.visit_entries(kind, [&](const CatalogueEntry& e) { gone.push_back(e.key); });
        state_.remove_entries(gone);
        state_.clear_note("catalogue");
    }
    Fork fork = fork_from(before);
    fork.parent.clear();
    fork.fork_sequence = 0;
    if (!state_.note(kDbId))
        state_.set_note(kDbId, head.metadata && !head.metadata->db_identifier.empty()
                                   ? head.metadata->db_identifier
                                   : random_hex(16));
    new_generation(fork, "there is no replica yet");
}

void Lineage::new_generation(Fork fork, const std::string& reason) {
    const std::string generation = random_hex(16);
    log_.info("new generation " + generation + ": " + reason);
    fork.reason = reason;
    fork.gap_from = gap(state_);
    capture_.rehash();
    state_.set_note(kClaim, std::to_string(fork.claim_sequence));
    state_.set_note("parent", fork.parent);
    state_.set_note("fork_sequence", std::to_string(fork.fork_sequence));
    identify(state_.note(kDbId).value_or(random_hex(16)), generation);
    capture_.begin_generation(fork);
    state_.clear_note(kGapFrom);
}

void Lineage::go_on(Capture::Continuity continuity, const std::string& reason) {
    identify(state_.note(kDbId).value_or(random_hex(16)), capture_.position()->generation);
    if (continuity == Capture::Continuity::lost)
        return resync(reason);
    state_.clear_note(kGapFrom); // nobody restarted the WAL meanwhile: nothing is lost
}

bool Lineage::settle_offline(Capture::Continuity continuity, const std::string& reason) {
    if (!capture_.position())
        return false;
    go_on(continuity, reason);
    return true;
}

void Lineage::resync(const std::string& reason) {
    log_.info("continuity lost: " + reason);
    ++resyncs_;
    if (capture_.compare(reason, gap(state_)))
        return state_.clear_note(kGapFrom);
    // What a generation captured after a claim that has no snapshot yet can never be restored, and
    // must not lie in the way of the next one: it was not sent (upload_limit), and is dropped.
    // The claim itself stays if it may be in the store already: its number is used up.
    if (upload_limit(state_) != UINT64_MAX)
        state_.drop_unsent(claim_sequence(state_));
    new_generation(fork_from(state_.newest()), reason);
}

std::uint64_t Lineage::upload_limit(ShipState& state) {
    const auto generation = state.note(kGeneration);
    if (!generation || state.note(kOpened).value_or("") == *generation)
        return UINT64_MAX;
    // Noted before it is captured: until then everything queued is of the generation before.
    const std::uint64_t claim = claim_sequence(state);
    return claim > state.newest().sequence ? UINT64_MAX : claim;
}

void Lineage::begin_gap(ShipState& state, TimePoint from) {
    state.set_note(kGapFrom, format_rfc3339(from));
}

std::optional<TimePoint> Lineage::gap(ShipState& state) {
    const auto noted = state.note(kGapFrom);
    if (!noted)
        return std::nullopt;
    const TimePoint from = parse_time(*noted);
    // Killed between the segment that tells of it and the end of the note.
    const auto at = state.position();
    return at && at->time > from ? std::nullopt : std::optional(from);
}

void Lineage::opened(ShipState& state, const std::string& generation) {
    state.set_note(kOpened, generation);
}

std::uint64_t Lineage::claim_sequence(ShipState& state) {
    return std::stoull(state.note(kClaim).value_or("0"));
}

} // namespace zl
