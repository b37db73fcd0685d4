#include "wal/restore_chain.hpp"

#include <algorithm>
#include <map>

namespace zl {

RestoreChain::RestoreChain(std::uint64_t base, std::vector<Object> objects, std::uint64_t up_to)
    : objects_(std::move(objects)) {
    // Every step leads upwards and objects come in the order of where they start, so all ways to a
    // state are known before the first step that starts there.
    std::map<std::uint64_t, Step> best{{base, {}}};
    for (std::size_t i = 0; i < objects_.size(); ++i) {
        const SequenceRange& range = objects_[i].range;
        auto from = best.find(range.first - 1);
        if (from == best.end() || range.last > up_to)
            continue;
        const Step step{from->second.count + 1, i};
        auto [at, is_new] = best.try_emplace(range.last, step);
        if (!is_new && step.count < at->second.count)
            at->second = step;
    }
    for (const auto& [sequence, step] : best) {
        states_.push_back(sequence);
        steps_.push_back(step);
    }
}

std::vector<RestoreChain::Object> RestoreChain::path(std::size_t state) const {
    std::vector<Object> out;
    while (state > 0) {
        out.push_back(last_step(state));
        const std::uint64_t before = out.back().range.first - 1;
        state = static_cast<std::size_t>(std::lower_bound(states_.begin(), states_.end(), before) -
                                         states_.begin());
    }
    std::reverse(out.begin(), out.end());
    return out;
}

std::optional<RestoreChain::Object> RestoreChain::beyond() const {
    for (const Object& o : objects_)
        if (o.range.last > tip())
            return o;
    return std::nullopt;
}

} // namespace zl
