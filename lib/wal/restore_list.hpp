/// What can be restored from a replica, for people.
#pragma once

#include "wal/restore_catalogue.hpp"
#include "wal/restorer.hpp"

#include <stop_token>
#include <vector>

namespace zl {

inline constexpr std::size_t kMaxHeadersForList = 10000;
/// Ascending by sequence. Looks at every listing, each snapshot's index and up to @p max_headers
/// segment headers (gaps are noted only there). Throws not_found.
std::vector<RestorableRange> list_restorable(ReplicaCatalogue& catalogue, int jobs,
                                             std::stop_token stop,
                                             std::size_t max_headers = kMaxHeadersForList);

} // namespace zl
