/// Multipart uploads that nobody continues: S3 keeps (and bills) their parts for ever.
#pragma once

#include "prune/layer_pruner.hpp"
#include "state/state_db.hpp"

#include <string>
#include <vector>

namespace zl {

struct StaleUpload {
    UploadInfo upload;
    TimePoint newest{}; ///< the later of its beginning and its newest part
    std::uint64_t bytes = 0;
};

/// Below @p prefix, of keys that zl makes there, with nothing newer than @p older. Those that
/// @p own (may be null) knows as under way are left out. @p now: by the store's clock.
std::vector<StaleUpload> stale_uploads(ObjectStore& store, const std::string& prefix, TimePoint now,
                                       Millis older, StateDb* own);

/// Looks once more at each: one that went on meanwhile stays.
void abort_stale_uploads(ObjectStore& store, const std::vector<StaleUpload>& uploads,
                         PruneTotals& totals, std::stop_token stop);

} // namespace zl
