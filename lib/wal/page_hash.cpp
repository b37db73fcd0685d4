#include "wal/page_hash.hpp"

#include <xxhash.h>

namespace zl {

std::uint64_t page_hash(std::uint32_t page, Bytes data) {
    return XXH64(data.data(), data.size(), page);
}

} // namespace zl
