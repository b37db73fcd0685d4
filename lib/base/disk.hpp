/// How much room there is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace zl {

/// Bytes that an unprivileged user may still write to the file system of @p path, which exists;
/// nullopt if it cannot be told.
std::optional<std::uint64_t> free_space(const std::string& path);

} // namespace zl
