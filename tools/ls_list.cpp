#include "ls_list.hpp"

#include "base/error.hpp"
#include "base/shown.hpp"
#include "inventory/contents.hpp"
#include "inventory/uploads.hpp"
#include "ls_rows.hpp"
#include "ls_what.hpp"
#include "ranges.hpp"
#include "row_printer.hpp"
#include "transfer/layer_keys.hpp"
#include "wal/restore_list.hpp"

namespace zl {

namespace {

/// Of a database in the overview: its gaps are shown by `zl-ls db/NAME`.
constexpr std::size_t kHeadersInOverview = 200;

int history(const LsContext& ls, const std::string& name) {
    const auto rows = LayerLister{ls.store, ls.prefix, ls.jobs, ls.tool.stop()}.history(name);
    if (rows.empty())
        no_such_name(ls, name);
    RowPrinter out(ls.tool, row_header(ls.details));
    for (const LayerRow& row : rows)
        add_row(out, row, ls.details);
    out.finish();
    return kExitOk;
}

int database(const LsContext& ls, const LsWhat& what) {
    const DatabaseRow row = look_at_database(ls.store, what.keys(ls), what.subject(ls), ls.jobs,
                                             ls.tool.stop(), kMaxHeadersForList);
    if (row.damaged || row.zlayer)
        throw Error(ErrorKind::data, row.name + ": " + row.problem);
    if (row.ranges.empty()) {
        ls.tool.log().warn(row.name + ": " + row.problem);
        return kExitOk;
    }
    RowPrinter out(ls.tool, {});
    const auto table = range_table(row.ranges);
    if (out.table())
        out.add(table.front(), {});
    for (std::size_t i = 0; i < row.ranges.size(); ++i) {
        TableRow cells = table[i + 1];
        cells[7] = out.size(row.ranges[i].bytes);
        for (std::string& cell : cells)
            cell = RowPrinter::text(cell);
        Json j{{"type", "range"}, {"name", row.name}};
        add_fields(j, range_json(row.ranges[i]));
        out.add(std::move(cells), j);
    }
    out.finish();
    return kExitOk;
}

const char* type_name(EntryType type) {
    switch (type) {
    case EntryType::file:
        return "file";
    case EntryType::directory:
        return "directory";
    case EntryType::symlink:
        return "symlink";
    case EntryType::hardlink:
        return "hardlink";
    case EntryType::char_device:
        return "char-device";
    case EntryType::block_device:
        return "block-device";
    case EntryType::fifo:
        return "fifo";
    case EntryType::whiteout:
        return "whiteout";
    case EntryType::opaque:
        return "opaque";
    }
    return "?";
}

int contents(const LsContext& ls, const LsWhat& what) {
    NullLog quiet;
    PullOptions options;
    options.prefix = ls.prefix;
    options.jobs = ls.jobs;
    Puller puller(ls.store, options, quiet, ls.tool.progress(), ls.tool.stop());
    const PullTarget target = puller.find(what.name);
    const bool json = ls.tool.settings().json;
    RowPrinter cells(ls.tool, {});
    // Not as a table: a layer may have millions of entries.
    list_contents(ls.store, target, what.path, [&](const TocEntry& e, const std::string& link) {
        if (ls.tool.stop().stop_requested())
            throw Interrupted();
        const std::string hash = e.type == EntryType::file ? e.sha256.hex() : "";
        if (json) {
            Json j;
            j["type"] = "entry";
            set_text(j, "path", e.path);
            j["kind"] = type_name(e.type);
            j["size"] = e.size;
            if (!hash.empty())
                j["sha256"] = hash;
            if (!link.empty())
                set_text(j, "link", link);
            return ls.tool.print(dump_json(j));
        }
        if (!ls.details)
            return ls.tool.print(shown(e.path));
        std::string size = cells.size(e.size);
        if (cells.table())
            size.insert(0, size.size() < 10 ? 10 - size.size() : 0, ' ');
        const char* between = cells.table() ? "  " : "\t";
        ls.tool.print(
            std::string(1, static_cast<char>(e.type)) + between + size + between +
            (hash.empty() ? std::string(cells.table() ? 12 : 1, '-') : cells.digest(hash)) +
            between + shown(e.path) + (link.empty() ? "" : between + shown(link)));
    });
    return kExitOk;
}

int layer(const LsContext& ls, const std::string& ref) {
    const Resolved r = resolve_ref(ls.store, ls.prefix, ref);
    const std::string key = r.raw ? raw_key(ls.prefix, r.digest) : layer_key(ls.prefix, r.digest);
    const auto object = ls.store.head(key);
    if (!object)
        throw Error(ErrorKind::not_found, "no layer sha256:" + r.digest + " in " +
                                              ls.store.describe(ls.prefix) + " (" + r.how + ")");
    const auto meta = read_layer_meta(ls.store, r.raw ? raw_meta_key(ls.prefix, r.digest)
                                                      : layer_meta_key(ls.prefix, r.digest));
    Json j;
    j["type"] = "layer";
    j["digest"] = r.digest;
    j["kind"] = kind_of_layer(meta, r.raw);
    j["key"] = key;
    j["stored_at"] = format_rfc3339(object->last_modified);
    j["compressed_size_bytes"] = object->size;
    add_fields(j, meta_json(meta));
    if (const auto end =
            r.raw || object->size == 0 ? std::nullopt : read_layer_end(ls.store, *object)) {
        const Trailer& t = end->trailer;
        j["trailer"]["digest"] = t.digest.hex();
        j["trailer"]["size_bytes"] = t.size_bytes;
        j["trailer"]["file_count"] = t.file_count;
        j["trailer"]["data_frames"] = t.data_frames;
        j["trailer"]["incomplete"] = t.incomplete;
        j["trailer"]["skipped_count"] = t.skipped_count;
        for (const SkippedPath& s : t.skipped) {
            Json skipped;
            set_text(skipped, "path", s.path);
            skipped["reason"] = s.reason;
            j["trailer"]["skipped"].push_back(std::move(skipped));
        }
    }
    j["names"] = Json::array();
    ls.store.list(ls.prefix + "refs/", {}, [&](const ObjectInfo& o) {
        if (auto k = parse_ref_key(ls.prefix, o.key); k && r.digest.starts_with(k->digest12))
            j["names"].push_back(k->name + "@" + format_rfc3339(k->time));
        return true;
    });
    RowPrinter out(ls.tool, {});
    if (out.json()) {
        out.add({}, j);
        return kExitOk;
    }
    const Json flat = j.flatten();
    for (const auto& [field, value] : flat.items())
        if (field != "/type" && !(value.is_array() || value.is_object()))
            out.add({shown(field.substr(1)),
                     shown(value.is_string() ? value.get<std::string>() : value.dump())},
                    {});
    out.finish();
    return kExitOk;
}

} // namespace

int ls_overview(const LsContext& ls) {
    RowPrinter out(ls.tool, row_header(ls.details));
    const bool replica = ls.own_prefix && holds_database(ls.store, ls.prefix);
    std::uint64_t rows = 0;
    if (!replica)
        for (const LayerRow& row :
             LayerLister{ls.store, ls.prefix, ls.jobs, ls.tool.stop()}.overview()) {
            add_row(out, row, ls.details);
            ++rows;
        }
    for (const LsWhat& d : databases_of(ls)) {
        add_row(out,
                look_at_database(ls.store, d.keys(ls), d.subject(ls), ls.jobs, ls.tool.stop(),
                                 kHeadersInOverview),
                ls.details);
        ++rows;
    }
    if (rows > 0)
        out.finish();
    else if (out.table())
        ls.tool.log().warn("nothing is stored in " +
                           ls.store.describe(ls.own_prefix ? ls.prefix : ""));
    return kExitOk;
}

int ls_what(const LsContext& ls, const std::string& text) {
    const LsWhat what = parse_what(ls, text);
    switch (what.kind) {
    case LsWhat::Kind::name:
        return history(ls, what.name);
    case LsWhat::Kind::layer:
        return layer(ls, what.name);
    case LsWhat::Kind::contents:
        return contents(ls, what);
    case LsWhat::Kind::database:
        return database(ls, what);
    }
    return kExitOk;
}

int ls_uploads(const LsContext& ls) {
    RowPrinter out(ls.tool, {"KEY", "KIND", "STARTED", "PARTS", "BYTES", "ID"});
    std::uint64_t bytes = 0, count = 0;
    for (const UploadRow& u : list_open_uploads(ls.store, ls.prefix, ls.jobs, ls.tool.stop())) {
        Json j;
        j["type"] = "upload";
        j["key"] = u.upload.key;
        j["kind"] = u.kind;
        j["upload_id"] = u.upload.upload_id;
        j["started"] = format_rfc3339(u.upload.initiated);
        j["parts"] = u.parts;
        j["bytes"] = u.bytes;
        out.add({shown(u.upload.key), u.kind, RowPrinter::time(u.upload.initiated),
                 std::to_string(u.parts), out.size(u.bytes), shown(u.upload.upload_id)},
                j);
        bytes += u.bytes;
        ++count;
    }
    if (count > 0)
        out.finish();
    if (out.table())
        ls.tool.print(std::to_string(count) + " uploads under way, " + format_size(bytes));
    return kExitOk;
}

} // namespace zl
