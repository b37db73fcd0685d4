/// From a target to the objects that lead there, over what the listings say now.
///
/// Few requests: LIST of snapshots, wal and merged (from the snapshot on), metadata.json, the index
/// of the snapshot, the header of the last segment; for a moment also some headers by bisection,
/// since times grow with the sequence.
#pragma once

#include "wal/restore_catalogue.hpp"
#include "wal/restore_chain.hpp"
#include "wal/restorer.hpp"

#include <optional>
#include <string>
#include <vector>

namespace zl {

class RestorePlanner {
public:
    struct Result {
        RestorePlan plan; ///< leads to the target, or as near to it as possible
        /// Why not all the way: an object is missing or damaged.
        std::optional<std::string> obstacle;
    };

    explicit RestorePlanner(ReplicaCatalogue& catalogue) : catalogue_(catalogue) {}
    /// Throws not_found and data as Restorer::plan() does, and PlanAgain.
    Result plan(const RestoreTarget& target);

private:
    using Snapshot = ReplicaCatalogue::Snapshot;
    using Object = ReplicaCatalogue::Object;
    struct Base {
        Snapshot snapshot;
        SnapshotHeader header;
        std::uint64_t next_snapshot = 0; ///< sequence of the one after it; 0: none
    };
    struct Choice {
        std::size_t state = 0; ///< of the chain
        bool crossed = false; ///< the state asked for is of a generation without a fitting snapshot
        std::string other;    ///< that generation
    };

    static std::string moment(std::uint64_t sequence, TimePoint time);
    const SnapshotHeader& header(const Snapshot& s) { return catalogue_.index(s).header; }
    bool fits(const Snapshot& snapshot, const RestoreTarget& target);
    std::optional<std::uint64_t> generation_end(const std::string& generation);
    Base choose_base(const RestoreTarget& target);
    std::optional<Base> base_of(const std::string& generation, const RestoreTarget& target);
    [[noreturn]] void no_base(const RestoreTarget& target);

    Result plan_from(const Base& base, const RestoreTarget& target, bool may_look_elsewhere);
    TimePoint time_of(const Base& base, const RestoreChain& chain, std::size_t state);
    const std::string& generation_of(const Base& base, const RestoreChain& chain,
                                     std::size_t state);
    Choice choose_state(const Base& base, const RestoreChain& chain, const RestoreTarget& target);
    std::optional<std::string> obstacle(const Base& base, const RestoreChain& chain,
                                        const Choice& choice, const RestoreTarget& target);
    std::optional<std::string> sequence_obstacle(const Base& base, const RestoreChain& chain,
                                                 const Choice& choice, std::uint64_t wanted);
    std::optional<std::string> tip_obstacle(const Base& base, const RestoreChain& chain,
                                            const RestoreTarget& target);
    std::string why_broken(std::uint64_t tip, std::uint64_t next);
    std::optional<std::string> damaged_segment(std::uint64_t after, std::uint64_t up_to);
    std::optional<std::string> damaged_snapshot(TimePoint after);
    void add_notes(const Base& base, const RestoreChain& chain, const Choice& choice,
                   const RestoreTarget& target, RestorePlan& plan);

    ReplicaCatalogue& catalogue_;
    std::vector<Snapshot> snapshots_;
};

} // namespace zl
