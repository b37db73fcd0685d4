#include "base/json.hpp"

#include "base/error.hpp"

namespace zl {

Json parse_json(std::string_view text, std::string_view name) {
    bool too_deep = false;
    auto depth_guard = [&](int depth, Json::parse_event_t, Json&) {
        if (depth > 64)
            too_deep = true;
        return depth <= 64;
    };
    try {
        Json value = Json::parse(text.begin(), text.end(), depth_guard);
        if (!too_deep)
            return value;
    } catch (const Json::exception& e) {
        throw Error(ErrorKind::data, std::string(name) + ": not valid JSON: " + e.what());
    }
    throw Error(ErrorKind::data, std::string(name) + ": JSON nested deeper than 64");
}

std::string dump_json(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string json_string(const Json& object, const char* field, std::string_view name) {
    if (object.is_object())
        if (auto it = object.find(field); it != object.end() && it->is_string())
            return it->get<std::string>();
    throw Error(ErrorKind::data, std::string(name) + ": no text field \"" + field + "\"");
}

std::uint64_t json_uint(const Json& object, const char* field, std::string_view name) {
    if (object.is_object())
        if (auto it = object.find(field); it != object.end() && it->is_number_unsigned())
            return it->get<std::uint64_t>();
    throw Error(ErrorKind::data, std::string(name) + ": no number field \"" + field + "\"");
}

} // namespace zl
