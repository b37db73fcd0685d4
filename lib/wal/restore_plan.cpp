#include "wal/restore_plan.hpp"

#include "base/error.hpp"

#include <algorithm>

namespace zl {

namespace {

std::string asked_for(const RestoreTarget& target) {
    std::string out;
    if (target.sequence)
        out = "sequence " + std::to_string(*target.sequence);
    if (target.at)
        out = format_rfc3339(*target.at);
    if (!target.generation.empty())
        out += (out.empty() ? "" : " in ") + ("generation " + target.generation);
    return out.empty() ? "the newest state" : out;
}

} // namespace

std::string RestorePlanner::moment(std::uint64_t sequence, TimePoint time) {
    return format_rfc3339(time) + " (sequence " + std::to_string(sequence) + ")";
}

// ---------------------------------------------------------------------------------- the snapshot

bool RestorePlanner::fits(const Snapshot& snapshot, const RestoreTarget& target) {
    const SnapshotHeader& h = header(snapshot);
    return (!target.at || h.time <= *target.at) &&
           (!target.sequence || h.sequence <= *target.sequence);
}

/// The last sequence of a generation that has a successor in metadata.json.
std::optional<std::uint64_t> RestorePlanner::generation_end(const std::string& generation) {
    const auto& metadata = catalogue_.metadata();
    if (!metadata)
        return std::nullopt;
    std::optional<std::uint64_t> begin, end;
    for (const GenerationInfo& g : metadata->generations)
        if (g.id == generation)
            begin = g.first_sequence;
    for (const GenerationInfo& g : metadata->generations)
        if (begin && g.first_sequence > *begin && (!end || g.first_sequence - 1 < *end))
            end = g.first_sequence - 1;
    return end;
}

RestorePlanner::Base RestorePlanner::choose_base(const RestoreTarget& target) {
    snapshots_ = catalogue_.snapshots();
    RestoreTarget bound = target;
    if (auto end = generation_end(target.generation))
        bound.sequence = std::min(*end, target.sequence.value_or(UINT64_MAX));
    auto end = snapshots_.end();
    if (bound.at || bound.sequence)
        end = std::partition_point(snapshots_.begin(), snapshots_.end(),
                                   [&](const Snapshot& s) { return fits(s, bound); });
    auto chosen = end;
    while (chosen != snapshots_.begin()) {
        --chosen;
        if (target.generation.empty() || header(*chosen).generation == target.generation) {
            Base base{*chosen, header(*chosen), 0};
            if (chosen + 1 != snapshots_.end() && header(chosen[1]).sequence > base.header.sequence)
                base.next_snapshot = header(chosen[1]).sequence;
            return base;
        }
    }
    no_base(target);
}

/// The order of times in keys is only as good as clocks are: look at all.
std::optional<RestorePlanner::Base> RestorePlanner::base_of(const std::string& generation,
                                                            const RestoreTarget& target) {
    std::optional<Base> best;
    for (const Snapshot& s : snapshots_)
        if (header(s).generation == generation && fits(s, target) &&
            (!best || header(s).sequence > best->header.sequence))
            best = Base{s, header(s), 0};
    if (!best)
        return std::nullopt;
    for (const Snapshot& s : snapshots_)
        if (std::uint64_t n = header(s).sequence; n > best->header.sequence)
            best->next_snapshot = best->next_snapshot ? std::min(best->next_snapshot, n) : n;
    return best;
}

void RestorePlanner::no_base(const RestoreTarget& target) {
    ObjectStore& store = catalogue_.store();
    const std::string where = store.describe(catalogue_.keys().prefix());
    if (!catalogue_.exists())
        throw Error(ErrorKind::not_found, "no backup in " + where,
                    "zl-ls shows what the store holds; is NAME, --prefix or --store another one?");
    if (auto damaged = damaged_snapshot(TimePoint::min()))
        throw Error(ErrorKind::data, *damaged);
    if (snapshots_.empty())
        throw Error(ErrorKind::data, where + " has no complete snapshot: nothing can be restored",
                    "zl-walship makes one as soon as it runs");
    const Snapshot& first = snapshots_.front();
    throw Error(ErrorKind::not_found, "nothing in " + where + " is of " + asked_for(target),
                "the earliest that can be restored is " +
                    moment(header(first).sequence, header(first).time) + "; --list shows all");
}

// ------------------------------------------------------------------------------------- the state

TimePoint RestorePlanner::time_of(const Base& base, const RestoreChain& chain, std::size_t state) {
    return state == 0 ? base.header.time : catalogue_.header(chain.last_step(state)).time;
}

const std::string& RestorePlanner::generation_of(const Base& base, const RestoreChain& chain,
                                                 std::size_t state) {
    return state == 0 ? base.header.generation
                      : catalogue_.header(chain.last_step(state)).generation;
}

RestorePlanner::Choice RestorePlanner::choose_state(const Base& base, const RestoreChain& chain,
                                                    const RestoreTarget& target) {
    /// The last state in [0, end) for which @p holds, which holds for the first ones.
    auto last_where = [](std::size_t end, auto holds) {
        std::size_t low = 0;
        while (end - low > 1) {
            std::size_t middle = low + (end - low) / 2;
            (holds(middle) ? low : end) = middle;
        }
        return low;
    };
    Choice choice{chain.states().size() - 1, false, {}};
    if (target.at && time_of(base, chain, choice.state) > *target.at)
        choice.state = last_where(
            choice.state, [&](std::size_t s) { return time_of(base, chain, s) <= *target.at; });
    choice.other = generation_of(base, chain, choice.state);
    choice.crossed = choice.other != base.header.generation;
    if (choice.crossed)
        choice.state = last_where(choice.state, [&](std::size_t s) {
            return generation_of(base, chain, s) == base.header.generation;
        });
    return choice;
}

// ------------------------------------------------------------------------------------------ plan

void RestorePlanner::add_notes(const Base& base, const RestoreChain& chain, const Choice& choice,
                               const RestoreTarget& target, RestorePlan& plan) {
    if (choice.crossed && target.generation.empty() && !target.sequence)
        plan.notes.push_back("generation " + choice.other +
                             " has no snapshot up to there: taking the end of generation " +
                             base.header.generation + ", " + moment(plan.sequence, plan.time));
    if (!target.at || choice.crossed || choice.state + 1 >= chain.states().size())
        return;
    const SegmentHeader& next = catalogue_.header(chain.last_step(choice.state + 1));
    if (next.gap_from && *next.gap_from <= *target.at)
        plan.notes.push_back("moments from " + format_rfc3339(*next.gap_from) + " to " +
                             format_rfc3339(next.time) + " were lost: taking the state before, " +
                             moment(plan.sequence, plan.time));
    if (next.time > now_wall() + std::chrono::minutes(5))
        plan.notes.push_back("what follows is dated " + format_rfc3339(next.time) +
                             ", which is to come: a clock was wrong when it was shipped, and no time "
                             "leads to it now. --list shows it, --sequence restores it");
}

RestorePlanner::Result RestorePlanner::plan_from(const Base& base, const RestoreTarget& target,
                                                 bool may_look_elsewhere) {
    std::uint64_t list_to = base.next_snapshot ? base.next_snapshot : UINT64_MAX;
    if (target.sequence)
        list_to = std::min(list_to, *target.sequence);
    if (auto end = generation_end(base.header.generation); end && !target.generation.empty())
        list_to = std::min(list_to, *end);
    RestoreChain chain(base.header.sequence, catalogue_.objects(base.header.sequence, list_to),
                       target.sequence.value_or(UINT64_MAX));
    Choice choice = choose_state(base, chain, target);
    if (choice.crossed && may_look_elsewhere && target.generation.empty())
        if (auto other = base_of(choice.other, target))
            return plan_from(*other, target, false);

    Result result;
    RestorePlan& plan = result.plan;
    plan.snapshot_key = base.snapshot.key;
    plan.snapshot_size = base.snapshot.size;
    plan.snapshot = catalogue_.index(base.snapshot);
    plan.generation = base.header.generation;
    plan.sequence = chain.states()[choice.state];
    plan.time = time_of(base, chain, choice.state);
    plan.bytes = plan.snapshot_size;
    for (const Object& o : chain.path(choice.state)) {
        plan.segments.push_back({catalogue_.key(o), o.range, o.size});
        plan.bytes += o.size;
    }
    result.obstacle = obstacle(base, chain, choice, target);
    if (!result.obstacle)
        add_notes(base, chain, choice, target, plan);
    return result;
}

RestorePlanner::Result RestorePlanner::plan(const RestoreTarget& target) {
    Base base = choose_base(target);
    const auto& metadata = catalogue_.metadata();
    if (metadata && !target.at && !target.sequence && target.generation.empty())
        // The newest by the order of writing, should clocks say something else.
        for (const Snapshot& s : snapshots_)
            if (s.key == metadata->latest_snapshot && header(s).sequence > base.header.sequence)
                base = Base{s, header(s), 0};
    return plan_from(base, target, true);
}

} // namespace zl
