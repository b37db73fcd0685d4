/// How a database proves itself equal to another one: a 64-bit hash per page, summed.
#pragma once

#include "stream/stream.hpp"

#include <cstdint>

namespace zl {

/// XXH64 of the page's bytes, seeded with its number (1, 2, ...). The lock page has no hash: its
/// bytes mean nothing. Source: https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md.
std::uint64_t page_hash(std::uint32_t page, Bytes data);

/// Sum modulo 2^64 of the hashes of all pages 1..page_count but the lock page. Independent of
/// order, so a segment changes it by the pages that it holds: minus the old hash, plus the new one.
/// Guards against accidents, not against an adversary (he who can write the store can write it
/// all).
using DbChecksum = std::uint64_t;

} // namespace zl
