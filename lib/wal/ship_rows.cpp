#include "wal/ship_rows.hpp"

namespace zl::ship_rows {

namespace {

std::int64_t to_ms(TimePoint t) {
    return t.time_since_epoch().count();
}

TimePoint from_ms(std::int64_t ms) {
    return TimePoint(Millis(ms));
}

Digest parse_id(const std::string& text) {
    auto id = Digest::from_hex(text);
    if (!id)
        throw Error(ErrorKind::data, "state database: id \"" + text + "\", expected 64 hex digits");
    return *id;
}

constexpr std::string_view kSegmentColumns =
    "sequence, id, generation, kind, time, size, frames, attempted";

const char* to_text(SegmentKind kind) {
    return kind == SegmentKind::claim    ? "claim"
           : kind == SegmentKind::merged ? "merged"
                                         : "segment";
}

QueuedSegment read_segment_row(const Stmt& s) {
    QueuedSegment q;
    q.sequence = s.column_uint(0);
    q.id = parse_id(s.column_text(1));
    q.generation = s.column_text(2);
    std::string kind = s.column_text(3);
    q.kind = kind == "claim"    ? SegmentKind::claim
             : kind == "merged" ? SegmentKind::merged
                                : SegmentKind::segment;
    q.time = from_ms(s.column_int(4));
    q.size = s.column_uint(5);
    q.frames = s.column_uint(6);
    q.attempted = s.column_int(7) != 0;
    return q;
}

void bind_wal(Stmt& s, int first, const std::optional<WalPosition>& wal) {
    if (!wal) {
        for (int i = first; i < first + 5; ++i)
            s.bind_null(i);
        return;
    }
    s.bind(first, std::uint64_t{wal->salt.s1}).bind(first + 1, std::uint64_t{wal->salt.s2});
    s.bind(first + 2, wal->frame);
    s.bind(first + 3, std::uint64_t{wal->checksum.s1});
    s.bind(first + 4, std::uint64_t{wal->checksum.s2});
}

const char* to_text(CatalogueEntry::Kind kind) {
    using Kind = CatalogueEntry::Kind;
    return kind == Kind::merged ? "merged" : kind == Kind::snapshot ? "snapshot" : "segment";
}

} // namespace

void insert_segment(Db& db, const char* table, const QueuedSegment& s) {
    Stmt(db, "INSERT INTO " + std::string(table) + " (" + std::string(kSegmentColumns) +
                 ") VALUES (?,?,?,?,?,?,?,?)")
        .bind(1, s.sequence)
        .bind(2, s.id.hex())
        .bind(3, s.generation)
        .bind(4, to_text(s.kind))
        .bind(5, to_ms(s.time))
        .bind(6, s.size)
        .bind(7, s.frames)
        .bind(8, s.attempted ? 1 : 0)
        .run();
}

std::optional<QueuedSegment> select_segment(Db& db, const char* table, std::string_view tail,
                                            std::uint64_t sequence) {
    Stmt s(db,
           "SELECT " + std::string(kSegmentColumns) + " FROM " + table + " " + std::string(tail));
    if (tail.find('?') != std::string_view::npos)
        s.bind(1, sequence);
    return s.step() ? std::optional(read_segment_row(s)) : std::nullopt;
}

void replace_position(Db& db, const ShipPosition& p) {
    Stmt s(db, "INSERT OR REPLACE INTO position (one, generation, sequence, id, time, page_size,"
               " page_count, checksum, device, inode, salt1, salt2, frame, sum1, sum2)"
               " VALUES (1,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
    s.bind(1, p.generation).bind(2, p.sequence).bind(3, p.id.hex()).bind(4, to_ms(p.time));
    s.bind(5, std::uint64_t{p.page_size}).bind(6, std::uint64_t{p.page_count});
    s.bind(7, p.checksum).bind(8, p.device).bind(9, p.inode);
    bind_wal(s, 10, p.wal);
    s.run();
}

std::optional<ShipPosition> select_position(Db& db) {
    Stmt s(db, "SELECT generation, sequence, id, time, page_size, page_count, checksum, device,"
               " inode, salt1, salt2, frame, sum1, sum2 FROM position");
    if (!s.step())
        return std::nullopt;
    ShipPosition p;
    p.generation = s.column_text(0);
    p.sequence = s.column_uint(1);
    p.id = parse_id(s.column_text(2));
    p.time = from_ms(s.column_int(3));
    p.page_size = static_cast<std::uint32_t>(s.column_int(4));
    p.page_count = static_cast<std::uint32_t>(s.column_int(5));
    p.checksum = s.column_uint(6);
    p.device = s.column_uint(7);
    p.inode = s.column_uint(8);
    if (!s.column_is_null(9)) {
        auto u32 = [&](int i) { return static_cast<std::uint32_t>(s.column_int(i)); };
        p.wal = WalPosition{{u32(9), u32(10)}, s.column_uint(11), {u32(12), u32(13)}};
    }
    return p;
}

void insert_entries(Db& db, std::span<const CatalogueEntry> entries) {
    Stmt s(db, "INSERT OR REPLACE INTO catalogue (key, kind, generation, first, last, time, size,"
               " level) VALUES (?,?,?,?,?,?,?,?)");
    for (const CatalogueEntry& e : entries)
        s.bind(1, e.key)
            .bind(2, to_text(e.kind))
            .bind(3, e.generation)
            .bind(4, e.range.first)
            .bind(5, e.range.last)
            .bind(6, to_ms(e.time))
            .bind(7, e.size)
            .bind(8, e.level)
            .run();
}

void visit_entries(Db& db, CatalogueEntry::Kind kind,
                   const std::function<void(const CatalogueEntry&)>& visit) {
    Stmt s(db, "SELECT key, generation, first, last, time, size, level FROM catalogue"
               " WHERE kind = ? ORDER BY last, key");
    s.bind(1, to_text(kind));
    CatalogueEntry e;
    e.kind = kind;
    while (s.step()) {
        e.key = s.column_text(0);
        e.generation = s.column_text(1);
        e.range = {s.column_uint(2), s.column_uint(3)};
        e.time = from_ms(s.column_int(4));
        e.size = s.column_uint(5);
        e.level = static_cast<int>(s.column_int(6));
        visit(e);
    }
}

} // namespace zl::ship_rows
