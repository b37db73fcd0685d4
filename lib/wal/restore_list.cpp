#include "wal/restore_list.hpp"

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "wal/restore_chain.hpp"

#include <algorithm>
#include <set>

namespace zl {

namespace {

using Object = ReplicaCatalogue::Object;

/// `~20s`, `~5m`, `~1h`: how far apart the moments of a merged segment's ends are.
std::string about(Millis d) {
    const auto seconds = (d.count() + 500) / 1000;
    if (seconds < 90)
        return "~" + std::to_string(std::max<std::int64_t>(1, seconds)) + "s";
    if (seconds < 90 * 60)
        return "~" + std::to_string((seconds + 30) / 60) + "m";
    return "~" + std::to_string((seconds + 1800) / 3600) + "h";
}

std::string from_to(std::uint64_t first, std::uint64_t last) {
    return first == last ? std::to_string(first)
                         : std::to_string(first) + "-" + std::to_string(last);
}

class Lister {
public:
    Lister(ReplicaCatalogue& catalogue, int jobs, std::stop_token stop, std::size_t max_headers)
        : catalogue_(catalogue), jobs_(jobs), stop_(std::move(stop)), max_headers_(max_headers) {}

    std::vector<RestorableRange> run() {
        load();
        for (std::size_t i = 0; i < snapshots_.size();)
            i = add_range(i);
        mark_current();
        return std::move(ranges_);
    }

private:
    void load() {
        auto listed = catalogue_.snapshots();
        parallel_for(listed.size(), jobs_, [&](std::size_t i) {
            check_stop();
            catalogue_.index(listed[i]);
        });
        for (const auto& s : listed)
            snapshots_.push_back({catalogue_.index(s).header, s.size});
        std::sort(snapshots_.begin(), snapshots_.end(), [](const auto& a, const auto& b) {
            return a.header.sequence < b.header.sequence;
        });
        objects_ = catalogue_.objects(0);
        if (objects_.size() <= max_headers_)
            parallel_for(objects_.size(), jobs_, [&](std::size_t i) {
                check_stop();
                catalogue_.header(objects_[i]);
            });
    }

    void check_stop() const {
        if (stop_.stop_requested())
            throw Interrupted();
    }

    /// The last state of the chain that is still of the snapshot's generation.
    std::size_t end_of_generation(const RestoreChain& chain, const std::string& generation) {
        std::size_t low = 0, high = chain.states().size();
        while (high - low > 1) {
            std::size_t middle = low + (high - low) / 2;
            bool same = catalogue_.header(chain.last_step(middle)).generation == generation;
            (same ? low : high) = middle;
        }
        return low;
    }

    /// From snapshot @p i as far as it goes; returns the first snapshot behind it.
    std::size_t add_range(std::size_t i) {
        const SnapshotHeader& base = snapshots_[i].header;
        std::vector<Object> after;
        std::copy_if(objects_.begin(), objects_.end(), std::back_inserter(after),
                     [&](const Object& o) { return o.range.first > base.sequence; });
        RestoreChain chain(base.sequence, std::move(after));
        const std::size_t end = end_of_generation(chain, base.generation);
        RestorableRange r;
        r.generation = base.generation;
        r.sequences = {base.sequence, chain.states()[end]};
        r.from = base.time;
        r.to = end == 0 ? base.time : catalogue_.header(chain.last_step(end)).time;
        describe_generation(r);
        std::size_t next = i;
        for (; next < snapshots_.size() && snapshots_[next].header.sequence <= r.sequences.last &&
               snapshots_[next].header.generation == base.generation;
             ++next) {
            ++r.snapshots;
            r.bytes += snapshots_[next].size;
        }
        describe_segments(chain, end, r);
        note_hole(chain, end, next, r);
        ranges_.push_back(std::move(r));
        return next;
    }

    void describe_generation(RestorableRange& r) {
        if (const auto& metadata = catalogue_.metadata())
            for (const GenerationInfo& g : metadata->generations)
                if (g.id == r.generation) {
                    r.parent = g.parent;
                    r.fork_sequence = g.fork_sequence;
                    note_gap_before(g, r);
                }
    }

    /// A generation that begins after a gap says so in its claim.
    void note_gap_before(const GenerationInfo& g, RestorableRange& r) {
        for (const Object& o : objects_) {
            if (o.merged || o.range.first != g.first_sequence)
                continue;
            const SegmentHeader& claim = catalogue_.header(o);
            if (claim.generation == g.id && claim.gap_from)
                r.remarks.push_back("gap: " + format_rfc3339(*claim.gap_from) + " - " +
                                    format_rfc3339(claim.time));
        }
    }

    void describe_segments(const RestoreChain& chain, std::size_t end, RestorableRange& r) {
        std::set<std::string> steps;
        bool single = false;
        for (const Object& o : chain.objects()) {
            if (o.range.last > r.sequences.last)
                continue;
            ++r.segments;
            r.bytes += o.size;
            if (objects_.size() > max_headers_)
                continue;
            const SegmentHeader& h = catalogue_.header(o);
            if (h.gap_from && !o.merged)
                r.remarks.push_back("gap: " + format_rfc3339(*h.gap_from) + " - " +
                                    format_rfc3339(h.time));
        }
        for (std::size_t s = 1; s <= end; ++s) {
            const Object& o = chain.last_step(s);
            if (chain.states()[s] - chain.states()[s - 1] == 1)
                single = true;
            else if (steps.size() < 4)
                steps.insert(about(catalogue_.header(o).time - catalogue_.header(o).first_time));
        }
        for (const std::string& s : steps)
            r.granularity += s + ", ";
        r.granularity += single || steps.empty() ? "segment" : "";
        if (r.granularity.ends_with(", "))
            r.granularity.resize(r.granularity.size() - 2);
        if (objects_.size() > max_headers_)
            r.remarks.push_back("too many segments to look for gaps");
    }

    /// What is missing between this range and what comes after it in the same generation.
    void note_hole(const RestoreChain& chain, std::size_t end, std::size_t next,
                   RestorableRange& r) {
        std::uint64_t snapshot = 0, later = 0;
        if (next < snapshots_.size() && snapshots_[next].header.generation == r.generation)
            snapshot = later = snapshots_[next].header.sequence;
        if (end + 1 == chain.states().size())
            if (auto o = chain.beyond(); o && (!later || o->range.first < later) &&
                                         catalogue_.header(*o).generation == r.generation)
                later = o->range.first;
        if (later <= r.sequences.last + 1)
            return;
        std::string remark = "hole: " + from_to(r.sequences.last + 1, later - 1) + " missing";
        if (later < snapshot)
            remark += ", nothing up to " + std::to_string(snapshot - 1) + " can be restored";
        else if (!snapshot)
            remark += ", nothing behind it can be restored";
        r.remarks.push_back(std::move(remark));
    }

    void mark_current() {
        if (ranges_.empty())
            return;
        RestorableRange& last = ranges_.back();
        last.current = true;
        for (const auto& [key, reason] : catalogue_.damaged())
            last.remarks.push_back("damaged: " + reason);
    }

    struct Snapshot {
        SnapshotHeader header;
        std::uint64_t size = 0;
    };
    ReplicaCatalogue& catalogue_;
    int jobs_;
    std::stop_token stop_;
    std::size_t max_headers_;
    std::vector<Snapshot> snapshots_;
    std::vector<Object> objects_;
    std::vector<RestorableRange> ranges_;
};

} // namespace

std::vector<RestorableRange> list_restorable(ReplicaCatalogue& catalogue, int jobs,
                                             std::stop_token stop, std::size_t max_headers) {
    for (;;) {
        try {
            auto ranges = Lister(catalogue, jobs, stop, max_headers).run();
            if (!ranges.empty())
                return ranges;
            const std::string where = catalogue.store().describe(catalogue.keys().prefix());
            if (!catalogue.exists())
                throw Error(ErrorKind::not_found, "no backup in " + where);
            if (!catalogue.damaged().empty())
                throw Error(ErrorKind::data, catalogue.damaged().begin()->second);
            return {};
        } catch (const PlanAgain&) {
        }
    }
}

} // namespace zl
