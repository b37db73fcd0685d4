/// What is in a stored layer, from its table of contents: no data of it is fetched.
#pragma once

#include "layer/toc.hpp"
#include "transfer/puller.hpp"

#include <functional>
#include <string>

namespace zl {

/// Calls @p visit for each entry at or below @p path, in the order of the tar; @p target_path is
/// that of the entry which a hard link stands for. Throws not_found when there is none, usage for a
/// layer without a table of contents, data. Three small requests, and the table; memory: the table
/// as it is stored.
void list_contents(
    ObjectStore& store, const PullTarget& target, const std::string& path,
    const std::function<void(const TocEntry& entry, const std::string& target_path)>& visit);

} // namespace zl
