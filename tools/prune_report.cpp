#include "prune_report.hpp"

#include "base/shown.hpp"
#include "options.hpp"
#include "prune/grace.hpp"

namespace zl {

namespace {

using Action = LayerDecision::Action;

std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& w : words)
        out += (out.empty() ? "" : ", ") + w;
    return out;
}

const char* action_name(Action action) {
    switch (action) {
    case Action::mark:
        return "mark";
    case Action::wait:
        return "wait";
    case Action::remove:
        return "remove";
    case Action::unmark:
        return "unmark";
    }
    return "?";
}

const char* action_name(Fate fate) {
    return fate == Fate::remove ? "remove" : fate == Fate::mark ? "mark" : "wait";
}

const char* why_dead(DeadPush::Kind kind) {
    switch (kind) {
    case DeadPush::Kind::cut_input:
        return "its input was cut";
    case DeadPush::Kind::done:
        return "all of it is stored";
    case DeadPush::Kind::lost:
        return "it is not there: its push cannot be finished";
    case DeadPush::Kind::orphan:
        return "no push of this state database knows it: zl-push < FILE stores it";
    }
    return "?";
}

std::string count_of(std::uint64_t n, const std::string& word) {
    return std::to_string(n) + " " + word + (n == 1 ? "" : "s");
}

} // namespace

void PruneReport::add(const LayerPlan& plan) {
    for (const RefDecision& d : plan.refs) {
        Row row{
            d.keep() ? "keep" : "remove", "ref", d.ref.name,
            format_rfc3339(d.ref.time),   0,     d.keep() ? joined(d.reasons) : "no rule keeps it"};
        row.more["digest12"] = d.ref.digest12;
        row.more["key"] = d.ref.key;
        if (!d.keep())
            ++objects_;
        rows_.push_back(std::move(row));
    }
    for (const LayerDecision& d : plan.layers) {
        Row row{action_name(d.action),
                d.layer.raw ? "raw" : "layer",
                (ctx_.settings().json ? d.layer.digest : d.layer.digest.substr(0, 12)),
                {},
                d.bytes(),
                d.why};
        if (d.layer.object)
            row.time = format_rfc3339(d.layer.object->last_modified);
        if (d.action == Action::wait) {
            row.why += "; stays until " + format_rfc3339(d.until);
            row.more["until"] = format_rfc3339(d.until);
        }
        if (d.action == Action::mark)
            row.why += "; goes with a run after " + exact_duration(grace_period());
        if (d.action == Action::remove)
            objects_ += d.objects(), bytes_ += d.bytes();
        if (d.action == Action::mark || d.action == Action::wait)
            later_objects_ += d.objects(), later_bytes_ += d.bytes();
        rows_.push_back(std::move(row));
    }
}

void PruneReport::add(const std::string& name, const ReplicaPlan& plan) {
    for (const auto& [generation, sum] : plan.generations) {
        if (sum.objects) {
            Row row{"remove",
                    "db",
                    name,
                    format_rfc3339(sum.until),
                    sum.bytes,
                    count_of(sum.objects, "object") + " of generation " + shown(generation, 40) +
                        (sum.keep_objects ? " that no kept moment needs" : ", all of it")};
            row.more["generation"] = generation;
            row.more["objects"] = sum.objects;
            rows_.push_back(std::move(row));
            objects_ += sum.objects, bytes_ += sum.bytes;
        }
        if (sum.keep_objects) {
            Row row{"keep",
                    "db",
                    name,
                    {},
                    sum.keep_bytes,
                    count_of(sum.keep_objects, "object") + " of " +
                        (sum.current ? "the current " : "") + "generation " +
                        shown(generation, 40)};
            row.more["generation"] = generation;
            row.more["objects"] = sum.keep_objects;
            rows_.push_back(std::move(row));
        }
    }
}

void PruneReport::add(const StaleUpload& u) {
    Row row{"abort", "upload",       shown(u.upload.key, 1100), format_rfc3339(u.newest),
            u.bytes, "no part since"};
    row.more["upload_id"] = u.upload.upload_id;
    rows_.push_back(std::move(row));
    ++objects_, bytes_ += u.bytes;
}

void PruneReport::add(const DeadPush& dead, Fate fate) {
    Row row{action_name(fate), "spool", shown(dead.spool), {}, dead.bytes, why_dead(dead.kind)};
    if (fate == Fate::keep) {
        const TimePoint until = *dead.marked + grace_period();
        row.why += "; stays until " + format_rfc3339(until);
        row.more["until"] = format_rfc3339(until);
    }
    if (fate == Fate::mark)
        row.why += "; goes with a run after " + exact_duration(grace_period());
    if (fate == Fate::remove)
        ++objects_, bytes_ += dead.bytes;
    else
        ++later_objects_, later_bytes_ += dead.bytes;
    rows_.push_back(std::move(row));
}

void PruneReport::print_plan() {
    std::vector<TableRow> table{{"ACTION", "KIND", "WHAT", "TIME", "SIZE", "WHY"}};
    for (const Row& r : rows_) {
        if (!ctx_.settings().json) {
            table.push_back({r.action, r.kind, r.what, r.time.empty() ? "-" : r.time,
                             r.bytes ? format_size(r.bytes) : "-", r.why});
            continue;
        }
        Json j;
        j["kind"] = r.kind;
        j["action"] = r.action;
        j["what"] = r.what;
        if (!r.time.empty())
            j["time"] = r.time;
        j["size_bytes"] = r.bytes;
        j["why"] = r.why;
        j.update(r.more);
        ctx_.print(dump_json(j));
    }
    if (table.size() > 1)
        for (const std::string& line : aligned(table))
            ctx_.print(line);
}

std::string PruneReport::describe(const PruneTotals& totals, bool whole) const {
    std::string out =
        applied_
            ? "removed " + count_of(totals.objects, "object") + ", " + format_size(totals.bytes)
            : "would remove " + count_of(objects_, "object") + ", " + format_size(bytes_);
    if (!whole) // the plan says nothing of what is marked by now
        return out + "; the rest was not done";
    if (later_objects_)
        out += "; " + count_of(later_objects_, "object") + ", " + format_size(later_bytes_) +
               (applied_ ? ", wait" : ", would wait") + " for a run after their grace period";
    if (!applied_)
        out += (objects_ || later_objects_) ? "; nothing was changed, --apply does it"
                                            : "; nothing was changed";
    return out;
}

void PruneReport::print_summary(const PruneTotals& totals, bool whole) {
    const std::uint64_t objects = applied_ ? totals.objects.load() : objects_;
    const std::uint64_t bytes = applied_ ? totals.bytes.load() : bytes_;
    if (applied_) {
        ctx_.metrics().set("zl_pruned_objects", static_cast<double>(objects),
                           "Objects that were deleted");
        ctx_.metrics().set("zl_pruned_bytes", static_cast<double>(bytes),
                           "Bytes that were deleted");
    }
    ctx_.metrics().set("zl_prunable_later_bytes", static_cast<double>(later_bytes_),
                       "Bytes of what nothing leads to that is too young to be deleted");
    if (!ctx_.settings().json)
        return ctx_.print(describe(totals, whole));
    Json j;
    j["kind"] = "summary";
    j["applied"] = applied_;
    j["objects"] = objects;
    j["size_bytes"] = bytes;
    j["later_objects"] = later_objects_;
    j["later_size_bytes"] = later_bytes_;
    ctx_.print(dump_json(j));
}

} // namespace zl
