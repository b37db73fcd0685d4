#include "inventory/check_database.hpp"

#include "inventory/replica_survey.hpp"

#include <algorithm>
#include <map>
#include <thread>

namespace zl {

namespace {

constexpr int kAttempts = 3;

std::string from_to(std::uint64_t first, std::uint64_t last) {
    return first == last ? "segment " + std::to_string(first)
                         : "segments " + std::to_string(first) + "-" + std::to_string(last);
}

/// What is known of one generation.
struct Generation {
    std::vector<const SurveyedSnapshot*> snapshots; ///< that can be used; ascending
    std::vector<const SurveyedSegment*> segments;   ///< the same
    std::uint64_t first = UINT64_MAX;               ///< lowest sequence seen
    std::uint64_t end = 0;                          ///< what it should reach
};

class ReplicaCheck {
public:
    ReplicaCheck(ReplicaSurvey& survey, const ReplicaKeys& keys) : s_(survey), keys_(keys) {}

    void run() {
        check_identity();
        check_chain();
        check_snapshots();
        note_gaps();
        sort_out();
        for (auto& [id, generation] : generations_)
            check_coverage(id, generation);
        check_metadata();
    }

private:
    // ---- what belongs to what ----

    /// By the database that most are of; if there are two such, by that of metadata.json.
    void check_identity() {
        std::map<std::string, std::size_t> count;
        for_each_usable([&](auto& s) { ++count[s.link.db_id]; });
        const std::string named = s_.metadata ? s_.metadata->db_identifier : std::string();
        const auto ours = std::max_element(count.begin(), count.end(), [&](auto& a, auto& b) {
            return std::pair(a.second, a.first == named) < std::pair(b.second, b.first == named);
        });
        for_each_usable([&](auto& s) {
            if (s.link.db_id == ours->first)
                return;
            s.damaged = true;
            s_.damage(s.key, "is of database " + s.link.db_id + ", expected " + ours->first, "",
                      kDamagedAdvice);
        });
    }
    template <class Visit> void for_each_usable(Visit visit) {
        for (SurveyedSegment& s : s_.segments)
            if (!s.damaged)
                visit(s);
        for (SurveyedSnapshot& s : s_.snapshots)
            if (!s.damaged)
                visit(s);
    }

    // ---- what follows what ----

    /// Objects that end at @p sequence and can be used.
    std::vector<SurveyedSegment*> ending_at(std::uint64_t sequence) {
        auto begin = std::lower_bound(
            s_.segments.begin(), s_.segments.end(), sequence,
            [](const SurveyedSegment& s, std::uint64_t n) { return s.link.range.last < n; });
        std::vector<SurveyedSegment*> out;
        for (; begin != s_.segments.end() && begin->link.range.last == sequence; ++begin)
            if (!begin->damaged)
                out.push_back(&*begin);
        return out;
    }

    struct Misfit {
        SurveyedSegment *before, *after;
        std::string why;
    };

    /// All pairs first, as what comes later tells which of two that do not fit is the wrong one.
    void check_chain() {
        std::vector<Misfit> misfits;
        for (SurveyedSegment& s : s_.segments) {
            if (s.damaged)
                continue;
            for (SurveyedSegment* before : ending_at(s.link.range.first - 1)) {
                const std::string why = s.link.claim ? why_no_claim(before->link, s.link)
                                                     : why_not_next(before->link, s.link);
                if (why.empty())
                    before->borne_out = s.borne_out = true;
                else
                    misfits.push_back({before, &s, why});
            }
        }
        for (const SurveyedSnapshot& snapshot : s_.snapshots)
            if (!snapshot.damaged)
                for (SurveyedSegment* at : ending_at(snapshot.link.range.last))
                    at->borne_out = at->borne_out || is_state_after(*at, snapshot);
        for (const Misfit& m : misfits) {
            if (m.before->damaged || m.after->damaged)
                continue;
            const bool first = is_first_wrong(*m.before, *m.after);
            (first ? m.before : m.after)->damaged = true;
            s_.damage(first ? m.before->key : m.after->key,
                      first ? m.after->key + " does not follow it: " + m.why
                            : "does not follow " + m.before->key + ": " + m.why,
                      "",
                      "two histories may have been written under one name; zl-restore --list "
                      "shows what can be restored");
        }
    }
    /// @p after does not follow @p before. The later one, unless only that fits anything.
    bool is_first_wrong(const SurveyedSegment& before, const SurveyedSegment& after) {
        for (const SurveyedSnapshot& s : s_.snapshots)
            if (!s.damaged && s.link.range.last == before.link.range.last)
                return !is_state_after(before, s) && s.link.id == after.link.prev;
        return !before.borne_out && after.borne_out;
    }
    static std::string why_no_claim(const SegmentLink& before, const SegmentLink& claim) {
        if (claim.prev != before.id)
            return "predecessor " + claim.prev.hex() + ", expected " + before.id.hex();
        return {};
    }

    static bool is_state_after(const SurveyedSegment& at, const SurveyedSnapshot& s) {
        return at.link.id == s.link.id && at.link.after == s.link.after &&
               at.link.generation == s.link.generation;
    }
    void check_snapshots() {
        for (SurveyedSnapshot& s : s_.snapshots) {
            if (s.damaged)
                continue;
            for (const SurveyedSegment* at : ending_at(s.link.range.last))
                if (!is_state_after(*at, s)) {
                    s.damaged = true;
                    s_.damage(s.key, "is not of the state that " + at->key + " leads to", "",
                              "zl-restore goes from another snapshot, if there is one");
                    break;
                }
        }
    }

    void note_gaps() {
        for (const SurveyedSegment& s : s_.segments)
            if (!s.damaged && s.gap_from && !s.merged)
                s_.note(s.key,
                        "gap: what was between " + format_rfc3339(*s.gap_from) + " and " +
                            format_rfc3339(s.link.time) + " was never shipped",
                        "these moments give the state before them");
    }

    // ---- what can be restored ----

    void sort_out() {
        for (const SurveyedSegment& s : s_.segments)
            if (!s.damaged) {
                Generation& g = generations_[s.link.generation];
                g.segments.push_back(&s);
                g.first = std::min(g.first, s.link.range.first);
                g.end = std::max(g.end, s.link.range.last);
            }
        for (const SurveyedSnapshot& s : s_.snapshots)
            if (!s.damaged) {
                Generation& g = generations_[s.link.generation];
                g.snapshots.push_back(&s);
                g.first = std::min(g.first, s.link.range.last);
                g.end = std::max(g.end, s.link.range.last);
            }
        // Sequence numbers go on over all generations: where a claim follows this one, it ended.
        for (const SurveyedSegment& s : s_.segments)
            if (auto parent = generations_.find(s.parent);
                !s.damaged && s.link.claim && parent != generations_.end() &&
                parent->second.first < s.link.range.first)
                parent->second.end = std::max(parent->second.end, s.link.range.first - 1);
        for (auto& [id, g] : generations_)
            if (!newest_ || g.first > newest_->first)
                newest_ = &g;
        if (newest_)
            newest_->end = std::max(newest_->end, last_known());
    }
    /// The highest sequence that is known to have been there.
    std::uint64_t last_known() const {
        std::uint64_t last = s_.metadata ? s_.metadata->latest_wal_sequence : 0;
        for (const SurveyedSegment& s : s_.segments)
            last = std::max(last, s.link.range.last);
        return last;
    }

    void check_coverage(const std::string& id, const Generation& g) {
        if (g.snapshots.empty())
            return without_snapshot(id, g);
        check_before_first(id, g);
        std::size_t next = 0; // snapshot
        while (next < g.snapshots.size()) {
            const SegmentLink& base = g.snapshots[next]->link;
            std::map<std::uint64_t, TimePoint> states{{base.range.last, base.time}};
            // In the order of where they start, so that all ways to a state are known before it is
            // left; only what lies behind the snapshot.
            std::vector<const SurveyedSegment*> steps;
            for (const SurveyedSegment* s : g.segments)
                if (s->link.range.first > base.range.last)
                    steps.push_back(s);
            std::sort(steps.begin(), steps.end(), [](const auto* a, const auto* b) {
                return a->link.range.first < b->link.range.first;
            });
            for (const SurveyedSegment* s : steps)
                if (states.contains(s->link.range.first - 1))
                    states[s->link.range.last] = s->link.time;
            const auto [tip, time] = *states.rbegin();
            while (next < g.snapshots.size() && g.snapshots[next]->link.range.last <= tip)
                ++next;
            const SegmentLink* beyond =
                next < g.snapshots.size() ? &g.snapshots[next]->link : nullptr;
            const std::uint64_t last = beyond ? beyond->range.last : g.end;
            if (last > tip)
                report_hole(tip, time, last, beyond);
        }
    }

    void report_hole(std::uint64_t tip, TimePoint time, std::uint64_t last,
                     const SegmentLink* beyond) {
        std::string affects = "the moments after " + format_rfc3339(time);
        std::string advice =
            "zl-restore --sequence " + std::to_string(tip) + " gives the last state before";
        if (beyond) {
            affects += " and before " + format_rfc3339(beyond->time);
            advice += ", --sequence " + std::to_string(beyond->range.last) + " the next one";
        }
        if (beyond)
            advice += "; if the shipper is deleting old objects just now, run this again";
        s_.damage("", from_to(tip + 1, last) + " cannot be restored: missing or damaged", affects,
                  advice);
    }

    /// What was captured between the claim and the first snapshot of a generation could never be
    /// restored. Behind a first snapshot that is gone it could: retention takes those segments too.
    void check_before_first(const std::string& id, const Generation& g) {
        const std::uint64_t first = g.snapshots.front()->link.range.last;
        const bool fewer = s_.metadata && s_.metadata->snapshot_count > s_.snapshots.size();
        const bool damaged = std::any_of(s_.snapshots.begin(), s_.snapshots.end(),
                                         [](const SurveyedSnapshot& s) { return s.damaged; });
        if (is_first_ever(id, *g.snapshots.front()))
            return;
        std::uint64_t from = UINT64_MAX, to = 0;
        for (const SurveyedSegment* s : g.segments)
            if (!s->link.claim && s->link.range.last < first) {
                from = std::min(from, s->link.range.first);
                to = std::max(to, s->link.range.last);
            }
        if (to && (fewer || damaged))
            s_.damage("",
                      from_to(from, to) + " cannot be restored: the snapshot before is missing "
                                          "or damaged",
                      "the moments before " + format_rfc3339(g.snapshots.front()->link.time), "");
    }

    /// A generation is entered into metadata.json when its first snapshot is there.
    bool is_first_ever(const std::string& id, const SurveyedSnapshot& s) const {
        if (!s_.metadata)
            return false;
        for (const GenerationInfo& g : s_.metadata->generations)
            if (g.id == id)
                return keys_.parse_snapshot(s.key) <= g.started;
        return true;
    }

    void without_snapshot(const std::string& id, const Generation& g) {
        const bool named = s_.metadata && s_.metadata->generation == id;
        const bool damaged = std::any_of(s_.snapshots.begin(), s_.snapshots.end(),
                                         [](const SurveyedSnapshot& s) { return s.damaged; });
        if (&g == newest_ && !named && !damaged)
            return s_.note("", "generation " + id + " has no snapshot yet",
                           "its " + from_to(g.first, g.end) + " cannot be restored until it has");
        s_.damage("", "generation " + id + " has no snapshot that can be read",
                  "its " + from_to(g.first, g.end) + " cannot be restored",
                  "a running zl-walship makes a new snapshot within its --snapshot-interval");
    }

    // ---- metadata.json ----

    void check_metadata() {
        const std::string key = keys_.metadata();
        const char* advice = "restores do not need it; the shipper writes it anew with its next "
                             "snapshot";
        if (!s_.metadata) {
            const bool reported = std::any_of(s_.findings.begin(), s_.findings.end(),
                                              [&](const Finding& f) { return f.key == key; });
            if (!s_.snapshots.empty() && !reported)
                s_.damage(key, "missing", "", advice);
            return;
        }
        check_latest(key, advice);
        check_ids(key, advice);
    }

    void check_latest(const std::string& key, const char* advice) {
        const ReplicaMetadata& m = *s_.metadata;
        const std::uint64_t sequence = m.latest_snapshot_sequence;
        auto find = [&](auto is_it) {
            auto found = std::find_if(s_.snapshots.begin(), s_.snapshots.end(), is_it);
            return found == s_.snapshots.end() ? nullptr : &*found;
        };
        const auto* named = find([&](auto& s) { return s.key == m.latest_snapshot; });
        const auto* meant =
            find([&](auto& s) { return !s.damaged && s.link.range.last == sequence; });
        if (named && !named->damaged && named->link.range.last != sequence)
            s_.damage(key,
                      "latest_snapshot_sequence " + std::to_string(sequence) + ", expected " +
                          std::to_string(named->link.range.last),
                      "", advice);
        if (named || (m.latest_snapshot.empty() && s_.snapshots.empty()))
            return;
        if (meant || !keys_.parse_snapshot(m.latest_snapshot))
            s_.damage(key,
                      "latest_snapshot " +
                          (m.latest_snapshot.empty() ? "null" : m.latest_snapshot) +
                          (meant ? ", expected " + meant->key : ""),
                      "", advice);
        else
            s_.damage(m.latest_snapshot, "missing, though metadata.json names it",
                      "restores begin at an older snapshot, if there is one",
                      "a running zl-walship makes a new snapshot within its --snapshot-interval");
    }

    void check_ids(const std::string& key, const char* advice) {
        const ReplicaMetadata& m = *s_.metadata;
        for (const SurveyedSegment& s : s_.segments) {
            if (s.damaged)
                continue;
            if (!m.db_identifier.empty() && s.link.db_id != m.db_identifier)
                return s_.damage(
                    key, "db_identifier " + m.db_identifier + ", " + s.key + " has " + s.link.db_id,
                    "", advice);
            const bool known =
                std::any_of(m.generations.begin(), m.generations.end(),
                            [&](const GenerationInfo& g) { return g.id == s.link.generation; });
            // A generation is named when it has its first snapshot.
            if (!known && !generations_[s.link.generation].snapshots.empty() &&
                &generations_[s.link.generation] != newest_)
                return s_.damage(key, "does not name generation " + s.link.generation, "", advice);
        }
        if (!m.generation.empty() && !m.generations.empty() &&
            m.generations.back().id != m.generation)
            s_.damage(key,
                      "generation " + m.generation + ", its last is " + m.generations.back().id, "",
                      advice);
    }

    ReplicaSurvey& s_;
    const ReplicaKeys& keys_;
    std::map<std::string, Generation> generations_;
    Generation* newest_ = nullptr;
};

/// For who deletes to come to an end, or further.
void give_it_time(const CheckContext& context) {
    for (int i = 0; i < 20; ++i) {
        context.check_stop();
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

} // namespace

void check_database(const CheckContext& context, const ReplicaKeys& keys,
                    const std::string& subject) {
    for (int attempt = 1;; ++attempt) {
        ReplicaSurvey survey(context, keys, subject);
        // Objects that are merged or deleted meanwhile are no damage.
        if (!survey.run(attempt == kAttempts))
            continue;
        if (survey.zlayer)
            survey.note(keys.prefix(), "a replica of zlayer-storage: zl does not restore it", "");
        else
            ReplicaCheck(survey, keys).run();
        // A prune takes the newest of what it deletes first, which is a hole until it is done.
        const bool holes = std::any_of(survey.findings.begin(), survey.findings.end(),
                                       [](const Finding& f) { return f.damage && f.key.empty(); });
        if (holes && attempt < kAttempts && survey.is_shrinking()) {
            give_it_time(context);
            continue;
        }
        for (const Finding& f : survey.findings)
            context.report.add(f);
        context.report.unknown(survey.unknown, subject, keys.prefix());
        return;
    }
}

} // namespace zl
