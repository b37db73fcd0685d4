/// Of RestorePlanner: why a chain ends before the target.
#include "base/error.hpp"
#include "wal/restore_plan.hpp"

#include <algorithm>

namespace zl {

std::optional<std::string> RestorePlanner::damaged_segment(std::uint64_t after,
                                                           std::uint64_t up_to) {
    for (const auto& [key, reason] : catalogue_.damaged())
        if (auto range = catalogue_.range_of(key);
            range && range->last > after && range->first <= up_to)
            return reason;
    return std::nullopt;
}

std::optional<std::string> RestorePlanner::damaged_snapshot(TimePoint after) {
    for (const auto& [key, reason] : catalogue_.damaged())
        if (auto time = catalogue_.keys().parse_snapshot(key); time && *time > after)
            return reason;
    return std::nullopt;
}

/// @p next: the first sequence behind the hole that is known to have existed.
std::string RestorePlanner::why_broken(std::uint64_t tip, std::uint64_t next) {
    if (auto damaged = damaged_segment(tip, std::max(next, tip + 1)))
        return *damaged;
    std::string out = catalogue_.store().describe(catalogue_.keys().segment(tip + 1)) + ": missing";
    if (next > tip + 2)
        out += ", and all up to " + std::to_string(next - 1);
    return out;
}

std::optional<std::string> RestorePlanner::sequence_obstacle(const Base& base,
                                                             const RestoreChain& chain,
                                                             const Choice& choice,
                                                             std::uint64_t wanted) {
    const std::string name = "sequence " + std::to_string(wanted);
    if (choice.crossed)
        throw Error(ErrorKind::not_found,
                    name + " is of generation " + choice.other +
                        ", which has no snapshot before it",
                    "--list shows what can be restored");
    const std::uint64_t tip = chain.tip();
    if (tip == wanted)
        return std::nullopt;
    for (const Object& o : chain.objects())
        if (o.range.first <= wanted && o.range.last > wanted && o.range.first == tip + 1 &&
            !damaged_segment(tip, wanted))
            throw Error(ErrorKind::not_found,
                        name + " was merged into " + std::to_string(o.range.first) + "-" +
                            std::to_string(o.range.last),
                        "states that can be restored: --sequence " + std::to_string(tip) +
                            " and --sequence " + std::to_string(o.range.last));
    const bool existed =
        base.next_snapshot > wanted || damaged_segment(tip, wanted) ||
        (catalogue_.metadata() && catalogue_.metadata()->latest_wal_sequence >= wanted) ||
        !catalogue_.objects(wanted - 1).empty();
    if (!existed)
        throw Error(ErrorKind::not_found,
                    name + " is not there: the newest is " +
                        moment(tip, time_of(base, chain, chain.states().size() - 1)));
    return why_broken(tip, wanted + 1);
}

/// The last state of the chain was chosen: does it really end there?
std::optional<std::string> RestorePlanner::tip_obstacle(const Base& base, const RestoreChain& chain,
                                                        const RestoreTarget& target) {
    const std::uint64_t tip = chain.tip();
    const auto end = generation_end(base.header.generation);
    if (!target.generation.empty() && end) {
        if (tip < *end)
            return why_broken(tip, *end + 1);
        return std::nullopt;
    }
    if (auto o = chain.beyond()) {
        // Another generation's, and where this one ended is not known: take what there is.
        if (!target.generation.empty() &&
            catalogue_.header(*o).generation != base.header.generation)
            return std::nullopt;
        return why_broken(tip, o->range.first);
    }
    if (auto damaged = damaged_segment(tip, UINT64_MAX))
        return damaged;
    if (!target.generation.empty())
        return std::nullopt;
    if (base.next_snapshot > tip)
        return why_broken(tip, base.next_snapshot + 1);
    const auto& metadata = catalogue_.metadata();
    if (auto damaged = damaged_snapshot(base.snapshot.time);
        damaged && (!metadata || metadata->latest_wal_sequence > tip))
        return damaged;
    if (metadata && metadata->latest_wal_sequence > tip)
        return why_broken(tip, metadata->latest_wal_sequence + 1);
    return std::nullopt;
}

std::optional<std::string> RestorePlanner::obstacle(const Base& base, const RestoreChain& chain,
                                                    const Choice& choice,
                                                    const RestoreTarget& target) {
    if (target.sequence)
        return sequence_obstacle(base, chain, choice, *target.sequence);
    if (choice.crossed)
        return target.generation.empty() ? damaged_snapshot(base.snapshot.time) : std::nullopt;
    if (choice.state + 1 < chain.states().size())
        return std::nullopt; // the next state is known to be later
    return tip_obstacle(base, chain, target);
}

} // namespace zl
