#include "ranges.hpp"

#include "base/units.hpp"

namespace zl {

Json range_json(const RestorableRange& r) {
    Json j;
    j["generation"] = r.generation;
    j["parent"] = r.parent.empty() ? Json(nullptr) : Json(r.parent);
    j["fork_sequence"] = r.fork_sequence;
    j["current"] = r.current;
    j["from"] = format_rfc3339(r.from);
    j["to"] = format_rfc3339(r.to);
    j["first_sequence"] = r.sequences.first;
    j["last_sequence"] = r.sequences.last;
    j["snapshots"] = r.snapshots;
    j["segments"] = r.segments;
    j["bytes"] = r.bytes;
    j["granularity"] = r.granularity;
    j["remarks"] = r.remarks;
    return j;
}

std::vector<TableRow> range_table(const std::vector<RestorableRange>& ranges) {
    std::vector<TableRow> rows{{"GENERATION", "PARENT", "SEQUENCES", "FROM", "TO", "SNAPSHOTS",
                                "SEGMENTS", "SIZE", "EVERY", "NOTES"}};
    for (const RestorableRange& r : ranges) {
        std::string notes = r.current ? "current" : "";
        for (const std::string& remark : r.remarks)
            notes += (notes.empty() ? "" : "; ") + remark;
        rows.push_back({r.generation,
                        r.parent.empty() ? "-" : r.parent + "@" + std::to_string(r.fork_sequence),
                        std::to_string(r.sequences.first) + "-" + std::to_string(r.sequences.last),
                        format_rfc3339(r.from), format_rfc3339(r.to), std::to_string(r.snapshots),
                        std::to_string(r.segments), format_size(r.bytes), r.granularity, notes});
    }
    return rows;
}

} // namespace zl
