/// Which states can be reached from a snapshot with the segments that are there.
#pragma once

#include "wal/restore_catalogue.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace zl {

class RestoreChain {
public:
    using Object = ReplicaCatalogue::Object;
    /// @p objects: ascending by first, as the catalogue gives them; those that end after @p up_to
    /// are not used.
    RestoreChain(std::uint64_t base, std::vector<Object> objects, std::uint64_t up_to = UINT64_MAX);

    /// Sequences that can be restored, ascending; the first is the snapshot's own.
    const std::vector<std::uint64_t>& states() const { return states_; }
    std::uint64_t tip() const { return states_.back(); }
    /// The object that leads to state number @p state (1, 2, ...).
    const Object& last_step(std::size_t state) const { return objects_[steps_[state].object]; }
    /// The fewest objects that lead to state number @p state, in order.
    std::vector<Object> path(std::size_t state) const;
    /// The first object behind the tip, if the chain breaks off there although more is stored.
    std::optional<Object> beyond() const;
    const std::vector<Object>& objects() const { return objects_; }

private:
    struct Step {
        std::uint64_t count = 0;
        std::size_t object = 0;
    };
    std::vector<Object> objects_;
    std::vector<std::uint64_t> states_;
    std::vector<Step> steps_; ///< beside states_
};

} // namespace zl
