#include "wal/ship_status.hpp"

#include "base/error.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr const char* kDocument = "status of zl-walship";

Json time_json(const std::optional<TimePoint>& time) {
    return time ? Json(format_rfc3339(*time)) : Json();
}

const Json& field(const Json& j, const char* name) {
    if (!j.is_object() || !j.contains(name))
        throw Error(ErrorKind::data, std::string(kDocument) + ": no field " + name);
    return j[name];
}

bool read_bool(const Json& j, const char* name) {
    const Json& value = field(j, name);
    if (!value.is_boolean())
        throw Error(ErrorKind::data, std::string(kDocument) + ": " + name + " is not a boolean");
    return value.get<bool>();
}

std::optional<TimePoint> read_time(const Json& j, const char* name) {
    if (field(j, name).is_null())
        return std::nullopt;
    const std::string text = json_string(j, name, kDocument);
    try {
        return parse_time(text);
    } catch (const Error& e) {
        throw Error(ErrorKind::data, std::string(kDocument) + ": " + name + ": " + e.message());
    }
}

/// `12s ago (2026-11-22T06:00:00.123Z)`
std::string ago(const std::optional<TimePoint>& time, TimePoint now) {
    if (!time)
        return "never";
    return format_duration(std::max(now - *time, Millis(0))) + " ago (" + format_rfc3339(*time) +
           ")";
}

std::string count(std::uint64_t n, const char* what) {
    return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

/// `name:    text` lines, the texts below each other.
class Lines {
public:
    void add(const std::string& name, const std::string& text) {
        std::string head = name + ":";
        head.resize(kColumn, ' ');
        out_ += (out_.empty() ? "" : "\n") + head + text;
    }
    std::string take() { return std::move(out_); }

private:
    static constexpr std::size_t kColumn = 15;
    std::string out_;
};

std::string state_text(const ShipStatus& s) {
    std::string text = s.state;
    if (!s.running && s.state != "stopped")
        text += ", not running";
    return text;
}

std::string pending_text(const ShipStatus& s) {
    std::string text = count(s.pending_segments, "segment") + ", " + format_size(s.pending_bytes);
    if (s.wal_frames_pending > 0)
        text += ", and " + count(s.wal_frames_pending, "frame") + " in the WAL";
    return text;
}

} // namespace

Json to_json(const ShipStatus& s) {
    Json j = Json::object();
    j["running"] = s.running;
    j["state"] = s.state;
    j["database"] = s.database;
    j["name"] = s.name;
    j["store"] = s.store;
    j["generation"] = s.generation;
    j["writer"] = s.writer;
    j["conditional"] = s.conditional;
    j["captured_sequence"] = s.captured_sequence;
    j["durable_sequence"] = s.durable_sequence;
    j["durable_time"] = time_json(s.durable_time);
    j["lag_ms"] = static_cast<std::uint64_t>(std::max(s.lag.count(), Millis::rep{0}));
    j["pending_segments"] = s.pending_segments;
    j["pending_bytes"] = s.pending_bytes;
    j["wal_frames"] = s.wal_frames;
    j["wal_frames_pending"] = s.wal_frames_pending;
    j["wal_bytes"] = s.wal_bytes;
    j["page_size"] = s.page_size;
    j["page_count"] = s.page_count;
    j["last_snapshot_time"] = time_json(s.last_snapshot_time);
    j["last_snapshot_sequence"] = s.last_snapshot_sequence;
    j["last_wal_sync"] = time_json(s.last_wal_sync);
    j["failed_uploads"] = s.failed_uploads;
    j["resyncs"] = s.resyncs;
    j["gap_from"] = time_json(s.gap_from);
    j["last_error"] = s.last_error;
    j["started"] = time_json(s.started);
    return j;
}

ShipStatus status_from_json(const Json& j) {
    auto text = [&](const char* name) { return json_string(j, name, kDocument); };
    auto number = [&](const char* name) { return json_uint(j, name, kDocument); };
    ShipStatus s;
    s.running = read_bool(j, "running");
    s.state = text("state");
    s.database = text("database");
    s.name = text("name");
    s.store = text("store");
    s.generation = text("generation");
    s.writer = text("writer");
    s.conditional = read_bool(j, "conditional");
    s.captured_sequence = number("captured_sequence");
    s.durable_sequence = number("durable_sequence");
    s.durable_time = read_time(j, "durable_time");
    s.lag = Millis(static_cast<std::int64_t>(std::min<std::uint64_t>(number("lag_ms"), INT64_MAX)));
    s.pending_segments = number("pending_segments");
    s.pending_bytes = number("pending_bytes");
    s.wal_frames = number("wal_frames");
    s.wal_frames_pending = number("wal_frames_pending");
    s.wal_bytes = number("wal_bytes");
    s.page_size = number("page_size");
    s.page_count = number("page_count");
    s.last_snapshot_time = read_time(j, "last_snapshot_time");
    s.last_snapshot_sequence = number("last_snapshot_sequence");
    s.last_wal_sync = read_time(j, "last_wal_sync");
    s.failed_uploads = number("failed_uploads");
    s.resyncs = number("resyncs");
    s.gap_from = read_time(j, "gap_from");
    s.last_error = text("last_error");
    s.started = read_time(j, "started");
    return s;
}

std::string describe(const ShipStatus& s) {
    const TimePoint now = now_wall();
    Lines lines;
    lines.add("state", state_text(s));
    lines.add("database", s.database);
    lines.add("name", s.name);
    if (!s.store.empty())
        lines.add("store", s.store);
    lines.add("durable", "sequence " + std::to_string(s.durable_sequence) +
                             (s.durable_time ? ", all up to " + ago(s.durable_time, now) : ""));
    lines.add("pending", pending_text(s));
    lines.add("lag", s.lag == Millis(0) ? "none" : format_duration(s.lag));
    if (s.running || s.last_wal_sync) // it is not kept on disk
        lines.add("last WAL sync", ago(s.last_wal_sync, now));
    lines.add(
        "last snapshot",
        ago(s.last_snapshot_time, now) +
            (s.last_snapshot_time ? ", sequence " + std::to_string(s.last_snapshot_sequence) : ""));
    if (s.running || s.wal_frames > 0)
        lines.add("WAL", count(s.wal_frames, "frame") + ", " + format_size(s.wal_bytes));
    if (s.page_count > 0)
        lines.add("size",
                  count(s.page_count, "page") + ", " + format_size(s.page_count * s.page_size));
    if (!s.generation.empty())
        lines.add("generation", s.generation);
    if (s.running)
        lines.add("since start", count(s.failed_uploads, "failed upload") + ", " +
                                     count(s.resyncs, "resync") + ", running for " +
                                     (s.started ? format_duration(now - *s.started) : "?"));
    if (s.gap_from)
        lines.add("gap", "moments since " + format_rfc3339(*s.gap_from) +
                             " are lost until the next segment");
    if (!s.conditional)
        lines.add("note", "the store has no conditional writes: a second writer is only detected");
    if (!s.last_error.empty())
        lines.add("last error", s.last_error);
    return lines.take();
}

} // namespace zl
