#include "wal/snapshot_header.hpp"

#include "wal/header_json.hpp"
#include "wal/segment.hpp"

namespace zl {

std::string snapshot_header_line(const SnapshotHeader& h) {
    Json j;
    j["zl_snapshot"] = kReplicaFormat;
    j["db_id"] = h.db_id;
    j["generation"] = h.generation;
    j["writer"] = h.writer;
    j["host"] = header_text(h.host, 48);
    j["sequence"] = h.sequence;
    j["chain"] = h.chain.hex();
    j["time"] = format_rfc3339(h.time);
    j["created_at"] = format_rfc3339(h.created_at);
    j["page_size"] = h.page_size;
    j["page_count"] = h.page_count;
    j["checksum"] = hex16(h.checksum);
    j["body_size"] = h.body_size;
    j["body_sha256"] = h.body_sha256.hex();
    return dump_json(j);
}

SnapshotHeader parse_snapshot_header(const std::string& line, const std::string& name) {
    HeaderFields f(parse_json(line, name), name);
    if (std::uint64_t format = f.number("zl_snapshot"); format != kReplicaFormat)
        throw Error(ErrorKind::data,
                    name + ": snapshot format " + std::to_string(format) + ", this zl reads " +
                        std::to_string(kReplicaFormat),
                    "use a newer zl; the data itself is a plain SQLite database in zstd");
    SnapshotHeader h;
    h.db_id = f.id("db_id");
    h.generation = f.id("generation");
    h.writer = f.id("writer");
    h.host = f.text("host");
    h.sequence = f.number("sequence");
    h.chain = f.digest("chain");
    h.time = f.time("time");
    h.created_at = f.time("created_at");
    h.page_size = f.number32("page_size");
    h.page_count = f.number32("page_count");
    h.checksum = f.hash("checksum");
    h.body_size = f.number("body_size");
    h.body_sha256 = f.digest("body_sha256");
    if (!valid_page_size(h.page_size))
        throw f.bad("page_size", std::to_string(h.page_size));
    if (h.page_count == 0)
        throw f.bad("page_count", "0");
    if (h.sequence == 0)
        throw f.bad("sequence", "0");
    if (snapshot_header_line(h) != line)
        throw Error(ErrorKind::data, name + ": snapshot header is not in the form of format 1");
    return h;
}

} // namespace zl
