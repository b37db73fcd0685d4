#include "ls_rows.hpp"

#include "base/shown.hpp"

#include <algorithm>

namespace zl {

namespace {

Json layer_json(const LayerRow& row) {
    Json j;
    j["type"] = "layer";
    j["name"] = row.name.empty() ? Json(nullptr) : Json(row.name);
    j["time"] = format_rfc3339(row.time);
    j["kind"] = row.kind;
    j["digest"] = row.digest;
    if (row.versions) {
        j["versions"] = row.versions;
        j["from"] = row.from ? Json(format_rfc3339(*row.from)) : Json(nullptr);
    }
    if (row.size)
        j["compressed_size_bytes"] = *row.size;
    if (row.doomed)
        j["doomed"] = true;
    add_fields(j, meta_json(row.meta));
    return j;
}

std::string tags_of(const std::optional<LayerMeta>& meta) {
    if (!meta || meta->tags == "{}")
        return "-";
    std::string out;
    const Json tags = parse_json(meta->tags, "tags");
    for (const auto& [name, value] : tags.items())
        out += (out.empty() ? "" : ",") +
               shown(name + "=" + (value.is_string() ? value.get<std::string>() : value.dump()));
    return out;
}

std::string notes_of(const LayerRow& row) {
    std::string out = row.doomed ? "doomed" : "";
    if (row.meta && row.meta->incomplete)
        out += out.empty() ? "incomplete" : ",incomplete";
    return out.empty() ? "-" : out;
}

} // namespace

void add_fields(Json& to, const Json& from) {
    for (const auto& [field, value] : from.items())
        if (!to.contains(field))
            to[field] = value;
}

Json meta_json(const std::optional<LayerMeta>& meta) {
    return meta ? parse_json(encode_layer_meta(*meta), "metadata") : Json::object();
}

TableRow row_header(bool details) {
    TableRow header{"NAME", "KIND", "TIME", "SIZE", "DIGEST", "VERSIONS", "FROM", "EVERY"};
    if (details)
        header.insert(header.end(), {"CONTENT", "FILES", "TAGS", "NOTES"});
    return header;
}

void add_row(RowPrinter& out, const LayerRow& row, bool details) {
    TableRow cells{RowPrinter::text(row.name), shown(row.kind, 40),
                   RowPrinter::time(row.time), out.size(row.size),
                   out.digest(row.digest),     row.versions ? std::to_string(row.versions) : "-",
                   RowPrinter::time(row.from), "-"};
    if (details) {
        const auto& m = row.meta;
        cells.push_back(out.size(m ? std::optional(m->size_bytes) : std::nullopt));
        cells.push_back(m ? std::to_string(m->file_count) : "-");
        cells.push_back(tags_of(m));
        cells.push_back(notes_of(row));
    }
    out.add(std::move(cells), layer_json(row));
}

void add_row(RowPrinter& out, const DatabaseRow& row, bool details) {
    std::uint64_t bytes = 0, snapshots = 0, segments = 0;
    std::vector<std::string> generations;
    for (const RestorableRange& r : row.ranges) {
        bytes += r.bytes;
        snapshots += r.snapshots;
        segments += r.segments;
        if (std::find(generations.begin(), generations.end(), r.generation) == generations.end())
            generations.push_back(r.generation);
    }
    const bool any = !row.ranges.empty();
    const auto from = any ? std::optional(row.ranges.front().from) : std::nullopt;
    const auto to = any ? std::optional(row.ranges.back().to) : std::nullopt;
    const std::string kind = row.zlayer ? "zlayer" : row.damaged ? "damaged" : "database";
    const std::string every = any ? row.ranges.back().granularity : "-";
    Json j;
    j["type"] = "database";
    j["name"] = row.name;
    j["kind"] = kind;
    j["from"] = from ? Json(format_rfc3339(*from)) : Json(nullptr);
    j["to"] = to ? Json(format_rfc3339(*to)) : Json(nullptr);
    j["granularity"] = every;
    j["generations"] = generations.size();
    j["snapshots"] = snapshots;
    j["segments"] = segments;
    j["bytes"] = bytes;
    if (!row.problem.empty())
        j["problem"] = row.problem;
    TableRow cells{RowPrinter::text(row.name),
                   kind,
                   RowPrinter::time(to),
                   out.size(any ? std::optional(bytes) : std::nullopt),
                   any ? out.digest(row.ranges.back().generation) : "-",
                   std::to_string(generations.size()),
                   RowPrinter::time(from),
                   every};
    if (details)
        cells.insert(cells.end(), {"-", "-", "-", RowPrinter::text(row.problem)});
    out.add(std::move(cells), j);
}

} // namespace zl
