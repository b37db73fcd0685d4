/// How much room there is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace zl {

/// Bytes that an unprivileged user may still write to the file system of @p path, which exists;
/// nullopt if it cannot be told.
std::optional<std::uint64_t> free_space(const std::string& path);

/// Throws io when it can be told that @p size bytes do not fit there: better said before than after an
/// hour.
void require_space(const std::string& path, std::uint64_t size);

} // namespace zl
