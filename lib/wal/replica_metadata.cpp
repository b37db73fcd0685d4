#include "wal/replica_metadata.hpp"

#include "wal/header_json.hpp"
#include "wal/segment.hpp"

#include <array>

namespace zl {

namespace {

constexpr std::array kKnown = {"latest_snapshot",
                               "latest_snapshot_time",
                               "latest_wal_sequence",
                               "snapshot_count",
                               "db_identifier",
                               "last_modified",
                               "format",
                               "latest_snapshot_sequence",
                               "generation",
                               "writer",
                               "host",
                               "released",
                               "generations"};

Json or_null(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

/// Fields that zlayer-storage leaves null.
bool given(const Json& j, const char* field) {
    auto it = j.find(field);
    return it != j.end() && !it->is_null();
}

std::string optional_text(const Json& j, const char* field, const std::string& name) {
    return given(j, field) ? json_string(j, field, name) : std::string();
}

bool optional_bool(const Json& j, const char* field, const std::string& name) {
    if (!given(j, field))
        return false;
    if (!j[field].is_boolean())
        throw Error(ErrorKind::data, name + ": \"" + field + "\" is neither true nor false");
    return j[field].get<bool>();
}

GenerationInfo decode_generation(const Json& j, const std::string& name) {
    HeaderFields f(j, name + ": generations");
    GenerationInfo g;
    g.id = f.id("id");
    if (given(j, "parent")) {
        g.parent = f.id("parent");
        g.fork_sequence = f.number("fork_sequence");
    }
    g.first_sequence = f.number("first_sequence");
    g.started = f.time("started");
    g.host = optional_text(j, "host", name);
    return g;
}

Json encode_generation(const GenerationInfo& g) {
    Json j;
    j["id"] = g.id;
    if (!g.parent.empty()) {
        j["parent"] = g.parent;
        j["fork_sequence"] = g.fork_sequence;
    }
    j["first_sequence"] = g.first_sequence;
    j["started"] = format_rfc3339(g.started);
    j["host"] = g.host;
    return j;
}

void decode_ours(const Json& j, const std::string& name, ReplicaMetadata& m) {
    std::uint64_t format = json_uint(j, "format", name);
    if (format == 0 || format > kReplicaFormat)
        throw Error(ErrorKind::data,
                    name + ": format " + std::to_string(format) + ", this zl reads " +
                        std::to_string(kReplicaFormat),
                    "use a newer zl");
    m.format = static_cast<int>(format);
    if (given(j, "latest_snapshot_sequence"))
        m.latest_snapshot_sequence = json_uint(j, "latest_snapshot_sequence", name);
    m.generation = optional_text(j, "generation", name);
    m.writer = optional_text(j, "writer", name);
    m.host = optional_text(j, "host", name);
    m.released = optional_bool(j, "released", name);
    if (!given(j, "generations"))
        return;
    if (!j["generations"].is_array())
        throw Error(ErrorKind::data, name + ": \"generations\" is no list");
    for (const Json& g : j["generations"]) {
        if (!g.is_object())
            throw Error(ErrorKind::data, name + ": a generation is no object");
        m.generations.push_back(decode_generation(g, name));
    }
}

} // namespace

std::string encode_replica_metadata(const ReplicaMetadata& m) {
    Json j;
    j["latest_snapshot"] = or_null(m.latest_snapshot);
    j["latest_snapshot_time"] =
        m.latest_snapshot_time ? Json(format_rfc3339(*m.latest_snapshot_time)) : Json(nullptr);
    j["latest_wal_sequence"] = m.latest_wal_sequence;
    j["snapshot_count"] = m.snapshot_count;
    j["db_identifier"] = or_null(m.db_identifier);
    j["last_modified"] = format_rfc3339(m.last_modified);
    if (!m.foreign()) {
        j["format"] = m.format;
        j["latest_snapshot_sequence"] = m.latest_snapshot_sequence;
        j["generation"] = m.generation;
        j["writer"] = m.writer;
        j["host"] = m.host;
        j["released"] = m.released;
        j["generations"] = Json::array();
        for (const GenerationInfo& g : m.generations)
            j["generations"].push_back(encode_generation(g));
    }
    for (const auto& [name, value] : m.other.items())
        if (!j.contains(name))
            j[name] = value;
    return j.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

ReplicaMetadata decode_replica_metadata(std::string_view text, std::string_view document) {
    std::string name(document);
    Json j = parse_json(text, name);
    if (!j.is_object())
        throw Error(ErrorKind::data, name + ": not a JSON object");
    ReplicaMetadata m;
    HeaderFields f(j, name);
    m.latest_snapshot = optional_text(j, "latest_snapshot", name);
    if (given(j, "latest_snapshot_time"))
        m.latest_snapshot_time = f.time("latest_snapshot_time");
    if (given(j, "latest_wal_sequence"))
        m.latest_wal_sequence = f.number("latest_wal_sequence");
    m.snapshot_count = f.number("snapshot_count");
    m.db_identifier = optional_text(j, "db_identifier", name);
    m.last_modified = f.time("last_modified");
    if (j.contains("format"))
        decode_ours(j, name, m);
    for (const auto& [field, value] : j.items())
        if (std::find(kKnown.begin(), kKnown.end(), field) == kKnown.end())
            m.other[field] = value;
    return m;
}

std::optional<ReplicaMetadata> get_replica_metadata(ObjectStore& store, const ReplicaKeys& keys) {
    auto text = get_text(store, keys.metadata());
    if (!text)
        return std::nullopt;
    return decode_replica_metadata(*text, store.describe(keys.metadata()));
}

void put_replica_metadata(ObjectStore& store, const ReplicaKeys& keys,
                          const ReplicaMetadata& metadata) {
    put_text(store, keys.metadata(), encode_replica_metadata(metadata));
}

} // namespace zl
