#include "stream/trailer.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "stream/zstd_stream.hpp"

namespace zl {

namespace {

constexpr const char* kName = "layer trailer";

Digest digest_field(const Json& j, const char* field) {
    auto d = Digest::from_hex(json_string(j, field, kName));
    if (!d)
        throw Error(ErrorKind::data, std::string(kName) + ": " + field + " is no SHA-256");
    return *d;
}

} // namespace

std::string encode_trailer(const Trailer& t) {
    Json j;
    j["zl_layer"] = t.format;
    j["digest"] = t.digest.hex();
    j["size_bytes"] = t.size_bytes;
    j["file_count"] = t.file_count;
    j["data_frames"] = t.data_frames;
    j["data_bytes"] = t.data_bytes;
    j["before_bytes"] = t.before_bytes;
    j["before_sha256"] = t.before_sha256.hex();
    j["incomplete"] = t.incomplete;
    j["skipped_count"] = t.skipped_count;
    j["skipped"] = Json::array();
    for (const SkippedPath& s : t.skipped)
        j["skipped"].push_back({{"path", s.path}, {"reason", s.reason}});
    std::string line = dump_json(j);
    return skippable_frame(kTrailerVariant, line + "\n" + sha256(as_bytes(line)).hex() + "\n");
}

Trailer decode_trailer(Bytes payload) {
    std::string_view text = as_text(payload);
    // line LF 64 hex LF
    if (text.size() < 67 || text.back() != '\n' || text[text.size() - 66] != '\n')
        throw Error(ErrorKind::data, "layer trailer: not a zl trailer");
    std::string_view line = text.substr(0, text.size() - 66);
    std::string_view sum = text.substr(text.size() - 65, 64);
    if (sha256(as_bytes(line)).hex() != sum)
        throw Error(ErrorKind::data, "layer trailer: checksum does not match");
    Json j = parse_json(line, kName);
    Trailer t;
    auto format = json_uint(j, "zl_layer", kName);
    if (format != kLayerFormat)
        throw Error(ErrorKind::data,
                    "layer trailer: format " + std::to_string(format) + ", this zl reads " +
                        std::to_string(kLayerFormat),
                    "use a newer zl; the data itself is plain tar in zstd: zstd -d | tar -x");
    t.digest = digest_field(j, "digest");
    t.size_bytes = json_uint(j, "size_bytes", kName);
    t.file_count = json_uint(j, "file_count", kName);
    t.data_frames = json_uint(j, "data_frames", kName);
    t.data_bytes = json_uint(j, "data_bytes", kName);
    t.before_bytes = json_uint(j, "before_bytes", kName);
    t.before_sha256 = digest_field(j, "before_sha256");
    t.skipped_count = json_uint(j, "skipped_count", kName);
    t.incomplete =
        j.contains("incomplete") && j["incomplete"].is_boolean() && j["incomplete"].get<bool>();
    if (j.contains("skipped") && j["skipped"].is_array())
        for (const Json& s : j["skipped"])
            t.skipped.push_back({json_string(s, "path", kName), json_string(s, "reason", kName)});
    return t;
}

} // namespace zl
