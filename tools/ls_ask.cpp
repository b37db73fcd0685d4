#include "ls_ask.hpp"

#include "base/error.hpp"
#include "base/shown.hpp"
#include "inventory/check_database.hpp"
#include "inventory/check_layers.hpp"
#include "inventory/database_rows.hpp"
#include "ls_what.hpp"
#include "row_printer.hpp"
#include "transfer/layer_keys.hpp"

namespace zl {

namespace {

Json finding_json(const Finding& f) {
    Json j;
    j["type"] = f.damage ? "damage" : "note";
    j["subject"] = f.subject;
    set_text(j, "key", f.key);
    j["what"] = f.what;
    j["affects"] = f.affects;
    j["advice"] = f.advice;
    return j;
}

/// Findings as they come, not at the end: a full check takes hours.
void print_finding(ToolContext& ctx, RowPrinter& out, const Finding& f) {
    if (!out.table())
        return out.add({f.damage ? "damage" : "note", RowPrinter::text(f.subject),
                        RowPrinter::text(f.key), RowPrinter::text(f.what),
                        RowPrinter::text(f.affects), RowPrinter::text(f.advice)},
                       finding_json(f));
    std::string head = f.damage ? "damage  " : "note    ";
    ctx.print(head + shown(f.subject.empty() || f.key.empty() ? f.subject + f.key
                                                              : f.subject + "  " + f.key));
    ctx.print("        " + shown(f.what));
    if (!f.affects.empty())
        ctx.print("        affects: " + shown(f.affects));
    if (!f.advice.empty())
        ctx.print("        hint: " + shown(f.advice));
}

void check_all(const LsContext& ls, const CheckContext& check) {
    const bool replica = ls.own_prefix && holds_database(ls.store, ls.prefix);
    if (!replica)
        check_layers(check, ls.prefix, {});
    for (const LsWhat& d : databases_of(ls))
        check_database(check, d.keys(ls), d.subject(ls));
    if (ls.own_prefix)
        return;
    check.report.unknown(list_databases(ls.store).unknown, "", "db/");
}

/// What a damaged ref leads to is not known: it is found among those of its name, or of all.
LayerSelection select_layer(const LsContext& ls, const std::string& ref) {
    try {
        return {"", resolve_ref(ls.store, ls.prefix, ref).digest};
    } catch (const Error& e) {
        const auto at = ref.find('@');
        if (e.kind() != ErrorKind::data || (at == std::string::npos && ref != "latest"))
            throw;
        return {at == std::string::npos ? "" : ref.substr(0, at), ""};
    }
}

void check_one(const LsContext& ls, const CheckContext& check, const LsWhat& what) {
    switch (what.kind) {
    case LsWhat::Kind::name:
        return check_layers(check, ls.prefix, {what.name, ""});
    case LsWhat::Kind::layer:
        return check_layers(check, ls.prefix, select_layer(ls, what.name));
    case LsWhat::Kind::database:
        return check_database(check, what.keys(ls), what.subject(ls));
    case LsWhat::Kind::contents:
        break; // refused by check_each()
    }
}

/// One that is not there does not keep the others from being checked, and damage is the worse news.
void check_each(const LsContext& ls, const CheckContext& check,
                const std::vector<std::string>& operands) {
    std::vector<Error> not_there;
    auto unless_missing = [&](auto look) {
        try {
            look();
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::not_found)
                throw;
            not_there.push_back(e);
        }
    };
    std::vector<LsWhat> all;
    for (const std::string& text : operands)
        unless_missing([&] {
            all.push_back(parse_what(ls, text));
            if (all.back().kind == LsWhat::Kind::contents)
                throw Error(ErrorKind::usage, text + ": --check takes whole layers",
                            "zl-ls --check=full " + all.back().name);
        });
    for (const LsWhat& what : all)
        unless_missing([&] { check_one(ls, check, what); });
    for (const Error& e : not_there) {
        if (&e == &not_there.back() && check.report.damaged() == 0)
            throw Error(e);
        ls.tool.log().warn(e.what());
    }
}

/// What is newer than now by more than this is of a clock that was wrong: no proof of a backup.
constexpr Millis kFuture{std::chrono::minutes(5)};

struct Age {
    std::string subject;
    std::optional<TimePoint> time;
};

/// When the newest push of @p name was made whose layer is there.
Age age_of_name(const LsContext& ls, const std::string& name, const std::vector<RefKey>& refs) {
    for (auto ref = refs.rbegin(); ref != refs.rend(); ++ref)
        try {
            const Ref r = read_ref(ls.store, *ref);
            if (ls.store.head(r.kind == "raw" ? raw_key(ls.prefix, r.digest)
                                              : layer_key(ls.prefix, r.digest)))
                return {name, ref->time};
            ls.tool.log().warn(name + "@" + format_rfc3339(ref->time) +
                               ": its layer is not there; zl-ls --check says more");
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::data)
                throw;
            ls.tool.log().warn(e.message());
        }
    return {name, std::nullopt};
}

std::vector<Age> ages(const LsContext& ls, const std::vector<std::string>& operands) {
    std::vector<Age> out;
    auto add_database = [&](const LsWhat& d) {
        out.push_back({d.subject(ls), newest_of_database(ls.store, d.keys(ls))});
    };
    for (const std::string& text : operands) {
        const LsWhat what = parse_what(ls, text);
        if (what.kind == LsWhat::Kind::database) {
            add_database(what);
        } else if (what.kind == LsWhat::Kind::name) {
            const auto refs = list_refs(ls.store, ls.prefix, what.name);
            if (refs.empty())
                no_such_name(ls, what.name);
            out.push_back(age_of_name(ls, what.name, refs));
        } else {
            throw Error(ErrorKind::usage, text + ": --max-age takes a NAME or db/NAME");
        }
    }
    if (!operands.empty())
        return out;
    const auto databases = databases_of(ls);
    if (!ls.own_prefix || databases.empty()) {
        const LayerInventory layers = list_layers(ls.store, ls.prefix);
        for (std::size_t i = 0; i < layers.refs.size();) {
            const std::string& name = layers.refs[i].name;
            std::vector<RefKey> refs;
            for (; i < layers.refs.size() && layers.refs[i].name == name; ++i)
                refs.push_back(layers.refs[i]);
            out.push_back(age_of_name(ls, name, refs));
        }
    }
    for (const LsWhat& d : databases)
        add_database(d);
    return out;
}

/// A store whose name was misspelt looks like this.
[[noreturn]] void nothing_stored(const LsContext& ls) {
    throw Error(ErrorKind::not_found,
                "nothing is stored in " + ls.store.describe(ls.own_prefix ? ls.prefix : ""),
                "look at --store and ZL_STORE");
}

} // namespace

int ls_check(const LsContext& ls, const std::vector<std::string>& what, bool full) {
    RowPrinter out(ls.tool, {});
    CheckReport report([&](const Finding& f) { print_finding(ls.tool, out, f); },
                       ls.tool.progress());
    CheckContext check{ls.store, report, ls.tool.progress(), ls.tool.stop(), ls.jobs, full};
    ls.tool.progress().begin("checking", std::nullopt);
    if (what.empty())
        check_all(ls, check);
    check_each(ls, check, what);

    ls.tool.end_progress();
    if (report.objects() == 0 && report.damaged() == 0)
        nothing_stored(ls);
    ls.tool.metrics().set("zl_damaged_objects", static_cast<double>(report.damaged()),
                          "Damage that the check found");
    const std::string looked_at = std::to_string(report.objects()) + " objects" +
                                  (full ? ", " + format_size(report.bytes()) : ", not their data");
    if (out.table() && report.damaged() == 0)
        ls.tool.print("all is well: checked " + looked_at);
    if (report.damaged() == 0)
        return kExitOk;
    ls.tool.log().warn(std::to_string(report.damaged()) + " damaged or missing in " +
                       ls.store.describe("") + " (checked " + looked_at + ")");
    return kExitNo;
}

int ls_max_age(const LsContext& ls, const std::vector<std::string>& what, Millis limit) {
    const auto all = ages(ls, what);
    if (all.empty())
        nothing_stored(ls);
    const TimePoint now = now_wall() + ls.store.clock_offset();
    RowPrinter out(ls.tool, {"NAME", "TIME", "AGE", "STATE"});
    std::uint64_t stale = 0;
    for (const Age& a : all) {
        const auto age = a.time ? std::optional(now - *a.time) : std::nullopt;
        const bool to_come = age && *age < -kFuture;
        const bool fresh = age && *age <= limit && !to_come;
        Json j;
        j["type"] = "age";
        j["name"] = a.subject;
        j["time"] = a.time ? Json(format_rfc3339(*a.time)) : Json(nullptr);
        j["age_seconds"] = age ? Json(age->count() / 1000) : Json(nullptr);
        j["fresh"] = fresh;
        out.add({RowPrinter::text(a.subject), RowPrinter::time(a.time),
                 !age || (to_come && out.table()) ? "-"
                 : out.table()                    ? format_duration(std::max(*age, Millis(0)))
                                                  : std::to_string(age->count() / 1000),
                 fresh ? "fresh" : "stale"},
                j);
        if (fresh)
            continue;
        ++stale;
        const std::string newest =
            a.time ? ": the newest is of " + format_rfc3339(*a.time) + ", " : "";
        ls.tool.log().warn(
            a.subject +
            (!a.time   ? ": nothing that could be had"
             : to_come ? newest + "which is yet to come: a clock was wrong, and how old it is "
                                  "cannot be told"
                       : newest + format_duration(*age) + " old, more than " +
                             exact_duration(limit)));
    }
    out.finish();
    ls.tool.metrics().set("zl_stale_names", static_cast<double>(stale),
                          "Names whose newest layer or segment is older than --max-age");
    return stale ? kExitNo : kExitOk;
}

} // namespace zl
