/// nlohmann/json, included here and nowhere else.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace zl {

/// Keeps the order in which fields are written (the field order of meta.json is part of its look).
using Json = nlohmann::ordered_json;

/// Parse untrusted text. Throws data `NAME: not valid JSON: ...`; depth is limited to 64.
Json parse_json(std::string_view text, std::string_view name);
/// One line; bytes that are not UTF-8 become U+FFFD instead of an exception.
std::string dump_json(const Json& value);
/// Field of an object as string/number, or throws data naming field and document.
std::string json_string(const Json& object, const char* field, std::string_view name);
std::uint64_t json_uint(const Json& object, const char* field, std::string_view name);

} // namespace zl
